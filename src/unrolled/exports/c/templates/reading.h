{# Included by the model.h of tasks that read a whole text: recurrent layers over its tokens. -#}
/* Read n rows with a layer, forwards or backwards; its outputs begin at a column. */
static inline void model_read(const struct model_layer *layer, float (*inputs)[MODEL_WIDTH], int n,
                              float (*outputs)[MODEL_WIDTH], int column, int is_back)
{
    float h[MODEL_WIDEST] = {0}{{ ", c[MODEL_WIDEST] = {0}" if cell.name == "lstm" else "" }};
    int step;
    for (step = 0; step < n; step++) {
        const int at = is_back ? n - 1 - step : step;
        model_cell(layer, inputs[at], h{{ ", c" if cell.name == "lstm" else "" }});
        memcpy(outputs[at] + column, h, (size_t)layer->size * sizeof *h);
    }
}

/* Read n rows, which are in rows[0], with all layers; the outputs are in rows[MODEL_OUTPUT]. */
static inline void model_read_all(struct model_state *state, int n)
{
//% for directions in depths
//% set from, to = loop.index0 % 2, loop.index % 2
    model_read(&model_{{ directions[0].name }}, state->rows[{{ from }}], n, state->rows[{{ to }}], 0, 0);
//% if directions | length > 1
    model_read(&model_{{ directions[1].name }}, state->rows[{{ from }}], n, state->rows[{{ to }}], {{ directions[0].size }}, 1);
//% endif
//% endfor
}
