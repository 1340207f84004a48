{# Included by each model.h: matrices and the recurrent cell. -#}
/* A matrix by rows, each with a bias{{ "; a weight is the integer times the scale of its row" if int8 else "" }}. */
struct model_matrix {
    const model_weight *rows;
//% if int8
    const float *scale;
//% endif
    const float *bias;
    int width;
};

/* A recurrent layer in one direction: the rows of its matrices are those of {{ cell.gates }}. */
struct model_layer {
    struct model_matrix input, recurrent;
    int size;
};

//% for layer in layers
static const struct model_layer model_{{ layer.name }} = {
    {{ layer.input.written }},
    {{ layer.recurrent.written }},
    {{ layer.size }}
};
//% endfor
//% for matrix in matrices
static const struct model_matrix model_{{ matrix.name }} = {{ matrix.written }};
//% endfor

/* One row of a matrix times a vector, and its bias. Nearly all time is spent here. */
static inline float model_product(const struct model_matrix *matrix, int row, const float *x)
{
    const model_weight *w = matrix->rows + (size_t)row * (size_t)matrix->width;
    float sums[MODEL_LANES] = {0};
    float sum = 0;
    int i = 0, lane;
    for (; i + MODEL_LANES <= matrix->width; i += MODEL_LANES)
        for (lane = 0; lane < MODEL_LANES; lane++)
            sums[lane] += {{ "(float)" if int8 else "" }}w[i + lane] * x[i + lane];
    for (; i < matrix->width; i++)
        sum += {{ "(float)" if int8 else "" }}w[i] * x[i];
    for (lane = 0; lane < MODEL_LANES; lane++)
        sum += sums[lane];
    return matrix->bias[row] + {{ "matrix->scale[row] * " if int8 else "" }}sum;
}
//% if embeds

/* Copy the embedding of a token. */
static inline void model_embed(const struct model_matrix *table, int32_t token, float *x)
{
    const model_weight *row = table->rows + (size_t)token * (size_t)table->width;
    int i;
    for (i = 0; i < table->width; i++)
        x[i] = {{ "table->scale[token] * (float)" if int8 else "" }}row[i]{{ " * MODEL_EMBEDDING_SCALE" if scaled else "" }};
}
//% endif
//% if cell.sigmoid

static inline float model_sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}
//% endif

//% if cell.name == "lstm"
/* One step of the LSTM. W, U are the matrices, b, b' their biases:

       i, f, o = sigmoid(W x + b + U h + b')    g = tanh(W x + b + U h + b')    each in its rows
       c = f c + i g
       h = o tanh(c) */
static inline void model_cell(const struct model_layer *layer, const float *x, float *h, float *c)
{
    const struct model_matrix *W = &layer->input, *U = &layer->recurrent;
    const int size = layer->size;
    float next[MODEL_WIDEST];
    int j;
    for (j = 0; j < size; j++) {
        const float i = model_sigmoid(model_product(W, j, x) + model_product(U, j, h));
        const float f = model_sigmoid(model_product(W, size + j, x) + model_product(U, size + j, h));
        const float g = tanhf(model_product(W, 2 * size + j, x) + model_product(U, 2 * size + j, h));
        const float o = model_sigmoid(model_product(W, 3 * size + j, x) + model_product(U, 3 * size + j, h));
        c[j] = f * c[j] + i * g;
        next[j] = o * tanhf(c[j]);
    }
    memcpy(h, next, (size_t)size * sizeof *h);
}
//% elif cell.name == "gru"
/* One step of the GRU, with the reset gate after the product. W, U are the matrices, b, b' their biases:

       r, z = sigmoid(W x + b + U h + b')       n = tanh(W x + b + r (U h + b'))    each in its rows
       h = (1 - z) n + z h */
static inline void model_cell(const struct model_layer *layer, const float *x, float *h)
{
    const struct model_matrix *W = &layer->input, *U = &layer->recurrent;
    const int size = layer->size;
    float next[MODEL_WIDEST];
    int j;
    for (j = 0; j < size; j++) {
        const float r = model_sigmoid(model_product(W, j, x) + model_product(U, j, h));
        const float z = model_sigmoid(model_product(W, size + j, x) + model_product(U, size + j, h));
        const float n = tanhf(model_product(W, 2 * size + j, x) + r * model_product(U, 2 * size + j, h));
        next[j] = (1.0f - z) * n + z * h[j];
    }
    memcpy(h, next, (size_t)size * sizeof *h);
}
//% else
/* One step of the recurrent layer. W, U are the matrices, b, b' their biases:

       h = {{ cell.function }}(W x + b + U h + b') */
static inline void model_cell(const struct model_layer *layer, const float *x, float *h)
{
    float next[MODEL_WIDEST];
    int j;
    for (j = 0; j < layer->size; j++) {
        const float sum = model_product(&layer->input, j, x) + model_product(&layer->recurrent, j, h);
        next[j] = {{ "tanhf(sum)" if cell.name == "rnn" else "sum > 0 ? sum : 0" }};
    }
    memcpy(h, next, (size_t)layer->size * sizeof *h);
}
//% endif
