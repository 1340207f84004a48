{# Included by each model.h: matrices and the recurrent cell. -#}
{% set gate_rows = cell.n_gates * at_once %}
#define MODEL_WIDEST {{ widest }} /* units of the widest layer, up to a multiple of MODEL_AT_ONCE */
#define MODEL_AT_ONCE {{ at_once }} /* units of a layer that are computed at once */
#define MODEL_GATE_ROWS {{ gate_rows }} /* the rows of a weight for these */
#define MODEL_ROWS {{ rows_at_once }} /* rows of another matrix that are multiplied at once */

/* A matrix, each row with a bias{{ "; a weight is the integer times the scale of its row" if int8 else "" }}. The weights of a table lie row after row. A matrix
   that is multiplied consists of blocks of rows, each stored column after column; in a layer, a block has the rows
   of {{ cell.gates }} for MODEL_AT_ONCE units{{ ", gate after gate" if cell.n_gates > 1 else "" }}. Rows that are missing in the last block are zeros. */
struct model_matrix {
    const model_weight *rows;
//% if int8
    const float *scale;
//% endif
    const float *bias;
    int width;
};

/* A recurrent layer in one direction. */
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
//% set float = "(float)" if int8 else ""
//% for name, size in [("gates", "MODEL_GATE_ROWS"), ("block", "MODEL_ROWS")]

/* One block of {{ "a layer's matrix" if name == "gates" else "a matrix" }} times a vector, and the biases.{{ " Nearly all time is spent here." if name == "gates" else "" }} Compilers compute
   several sums at once; four columns are added first, so that fewer additions wait for one another. */
static inline void model_{{ name }}(const struct model_matrix *matrix, int block, const float *x, float *y)
{
    const size_t first = (size_t)block * {{ size }};
    const model_weight *w = matrix->rows + first * (size_t)matrix->width;
    float sums[{{ size }}] = {0};
    int i = 0, row;
    for (; i + 4 <= matrix->width; i += 4, w += 4 * {{ size }})
        for (row = 0; row < {{ size }}; row++)
            sums[row] += ({{ float }}w[row] * x[i] + {{ float }}w[{{ size }} + row] * x[i + 1])
                         + ({{ float }}w[2 * {{ size }} + row] * x[i + 2] + {{ float }}w[3 * {{ size }} + row] * x[i + 3]);
    for (; i < matrix->width; i++, w += {{ size }})
        for (row = 0; row < {{ size }}; row++)
            sums[row] += {{ float }}w[row] * x[i];
    for (row = 0; row < {{ size }}; row++)
        y[row] = matrix->bias[first + (size_t)row] + {{ "matrix->scale[first + (size_t)row] * " if int8 else "" }}sums[row];
}
//% endfor

/* The first n rows of a matrix times a vector, and their biases. */
static inline void model_product(const struct model_matrix *matrix, int n, const float *x, float *y)
{
    float rows[MODEL_ROWS];
    int first;
    for (first = 0; first < n; first += MODEL_ROWS) {
        model_block(matrix, first / MODEL_ROWS, x, rows);
        memcpy(y + first, rows, (size_t)(n - first < MODEL_ROWS ? n - first : MODEL_ROWS) * sizeof *y);
    }
}
//% if embeds

/* Copy the embedding of a token. */
static inline void model_embed(const struct model_matrix *table, int32_t token, float *x)
{
//% if tied
    const model_weight *row = table->rows + (size_t)(token - token % MODEL_ROWS) * (size_t)table->width + token % MODEL_ROWS;
    int i;
    for (i = 0; i < table->width; i++)
        x[i] = {{ "table->scale[token] * (float)" if int8 else "" }}row[i * MODEL_ROWS]{{ " * MODEL_EMBEDDING_SCALE" if scaled else "" }};
//% else
    const model_weight *row = table->rows + (size_t)token * (size_t)table->width;
    int i;
    for (i = 0; i < table->width; i++)
        x[i] = {{ "table->scale[token] * (float)" if int8 else "" }}row[i];
//% endif
}
//% endif
//% if cell.name != "rnn_relu"

static inline uint32_t model_bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float model_float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x - 1, for x from -80 to 80, beyond which these are used: 2^n e^r - 1 with |r| <= ln(2) / 2, and e^r - 1 by its
   Taylor series. The numbers must be those of IEEE 754. Unlike a call of expm1f, it is computed for several x
   at once, as bits are selected rather than branches. */
static inline float model_exp_less_1(float x)
{
    const uint32_t sign = model_bits_of(x) & 0x80000000u, size = model_bits_of(x) & 0x7FFFFFFFu;
    const float at = model_float_of(sign | (size < 0x42A00000u ? size : 0x42A00000u)); /* 0x42A00000: 80 */
    const int32_t n = (int32_t)(at * 1.44269504f + model_float_of(sign | 0x3F000000u)); /* 0x3F000000: 0.5 */
    const float r = at - (float)n * 0.693359375f + (float)n * 2.12194440e-4f;
    const float series = 0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.33333333e-3f + r * (1.38888889e-3f + r * 1.98412698e-4f))));
    const float power = model_float_of((uint32_t)(n + 127) << 23);
    return power * (r + r * r * series) + (power - 1.0f);
}

/* tanh x, with an error of at most 2e-7. */
static inline float model_tanh(float x)
{
    const float e = model_exp_less_1(2.0f * x);
    return e / (e + 2.0f);
}
//% endif
//% if cell.n_gates > 1

/* 1 / (1 + e^-x), with an error of at most 2e-7. */
static inline float model_sigmoid(float x)
{
    return 1.0f / (2.0f + model_exp_less_1(-x));
}
//% endif

//% if cell.name == "lstm"
/* One step of the LSTM. W, U are the matrices, b, b' their biases:

       i, f, o = sigmoid(W x + b + U h + b')    g = tanh(W x + b + U h + b')    each in its rows
       c = f c + i g
       h = o tanh(c) */
static inline void model_cell(const struct model_layer *layer, const float *x, float *h, float *c)
{
    float next[MODEL_WIDEST], u[MODEL_GATE_ROWS], v[MODEL_GATE_ROWS];
    int first, j;
    for (first = 0; first < layer->size; first += MODEL_AT_ONCE) {
        const int n = layer->size - first < MODEL_AT_ONCE ? layer->size - first : MODEL_AT_ONCE;
        float cells[MODEL_AT_ONCE] = {0};
        memcpy(cells, c + first, (size_t)n * sizeof *c);
        model_gates(&layer->input, first / MODEL_AT_ONCE, x, u);
        model_gates(&layer->recurrent, first / MODEL_AT_ONCE, h, v);
        for (j = 0; j < MODEL_AT_ONCE; j++) {
            const float i = model_sigmoid(u[j] + v[j]);
            const float f = model_sigmoid(u[MODEL_AT_ONCE + j] + v[MODEL_AT_ONCE + j]);
            const float g = model_tanh(u[2 * MODEL_AT_ONCE + j] + v[2 * MODEL_AT_ONCE + j]);
            const float o = model_sigmoid(u[3 * MODEL_AT_ONCE + j] + v[3 * MODEL_AT_ONCE + j]);
            cells[j] = f * cells[j] + i * g;
            next[first + j] = o * model_tanh(cells[j]);
        }
        memcpy(c + first, cells, (size_t)n * sizeof *c);
    }
    memcpy(h, next, (size_t)layer->size * sizeof *h);
}
//% elif cell.name == "gru"
/* One step of the GRU, with the reset gate after the product. W, U are the matrices, b, b' their biases:

       r, z = sigmoid(W x + b + U h + b')       n = tanh(W x + b + r (U h + b'))    each in its rows
       h = (1 - z) n + z h */
static inline void model_cell(const struct model_layer *layer, const float *x, float *h)
{
    float next[MODEL_WIDEST], u[MODEL_GATE_ROWS], v[MODEL_GATE_ROWS];
    int first, j;
    memcpy(next, h, (size_t)layer->size * sizeof *h);
    for (j = layer->size; j < MODEL_WIDEST; j++)
        next[j] = 0;
    for (first = 0; first < layer->size; first += MODEL_AT_ONCE) {
        model_gates(&layer->input, first / MODEL_AT_ONCE, x, u);
        model_gates(&layer->recurrent, first / MODEL_AT_ONCE, h, v);
        for (j = 0; j < MODEL_AT_ONCE; j++) {
            const float r = model_sigmoid(u[j] + v[j]);
            const float z = model_sigmoid(u[MODEL_AT_ONCE + j] + v[MODEL_AT_ONCE + j]);
            const float n = model_tanh(u[2 * MODEL_AT_ONCE + j] + r * v[2 * MODEL_AT_ONCE + j]);
            next[first + j] = (1.0f - z) * n + z * next[first + j];
        }
    }
    memcpy(h, next, (size_t)layer->size * sizeof *h);
}
//% else
/* One step of the recurrent layer. W, U are the matrices, b, b' their biases:

       h = {{ cell.function }}(W x + b + U h + b') */
static inline void model_cell(const struct model_layer *layer, const float *x, float *h)
{
    float next[MODEL_WIDEST], u[MODEL_GATE_ROWS], v[MODEL_GATE_ROWS];
    int first, j;
    for (first = 0; first < layer->size; first += MODEL_AT_ONCE) {
        model_gates(&layer->input, first / MODEL_AT_ONCE, x, u);
        model_gates(&layer->recurrent, first / MODEL_AT_ONCE, h, v);
        for (j = 0; j < MODEL_AT_ONCE; j++) {
            const float sum = u[j] + v[j];
            next[first + j] = {{ "model_tanh(sum)" if cell.name == "rnn" else "sum > 0 ? sum : 0" }};
        }
    }
    memcpy(h, next, (size_t)layer->size * sizeof *h);
}
//% endif
