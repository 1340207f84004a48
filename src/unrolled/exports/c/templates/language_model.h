/* {{ title }}

   {{ about }}

       struct model_state state;
       float log_probs[MODEL_N_TOKENS];

       model_begin(&state);                    a document begins
       model_step(&state, token);              it goes on with this token
       model_log_probs(&state, log_probs);     how probable each token is as the next one

   No memory is allocated, nothing is global but constants, and a state can be copied to return to it.
   text.h turns text into tokens; main.c shows how all is used. */
#ifndef MODEL_H
#define MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "weights.h"

#define MODEL_N_TOKENS {{ n_tokens }}
#define MODEL_EMBEDDING_SIZE {{ embedding_size }}
//% if scaled
#define MODEL_EMBEDDING_SCALE {{ scaled }}
//% endif
#define MODEL_END 3     /* the token between documents */
#define MODEL_BORDER {{ border }} /* what stands between documents in a text; "" for nothing */
#define MODEL_RESTARTS {{ restarts }} /* whether each document begins with a state of zeros */

/* What the model remembers of the text. */
struct model_state {
//% for layer in layers
    float h{{ loop.index0 }}[{{ layer.size }}]{{ (", c%d[%d]" % (loop.index0, layer.size)) if cell.name == "lstm" else "" }};
//% endfor
};

//% include "cells.h"

/* Read a token. */
static inline void model_step(struct model_state *state, int32_t token)
{
//% if embeds
    float x[MODEL_EMBEDDING_SIZE];
    model_embed(&model_embedding, token, x);
//% for layer in layers
    model_cell(&model_{{ layer.name }}, {{ "x" if loop.first else "state->h%d" % (loop.index0 - 1) }}, state->h{{ loop.index0 }}{{ (", state->c%d" % loop.index0) if cell.name == "lstm" else "" }});
//% endfor
//% else
    /* The input is 1 for the token and 0 for all others, so its product is the token's column, which is stored
       as a row. */
    const float one = 1;
    struct model_layer first = model_{{ layers[0].name }};
    first.input.rows += (size_t)token * {{ layers[0].input.n_columns }};
//% for layer in layers
    model_cell(&{{ "first" if loop.first else "model_" ~ layer.name }}, {{ "&one" if loop.first else "state->h%d" % (loop.index0 - 1) }}, state->h{{ loop.index0 }}{{ (", state->c%d" % loop.index0) if cell.name == "lstm" else "" }});
//% endfor
//% endif
}

/* Begin the first document. */
static inline void model_begin(struct model_state *state)
{
    memset(state, 0, sizeof *state);
    model_step(state, MODEL_END);
}

/* End a document and begin the next one. */
static inline void model_next_document(struct model_state *state)
{
    if (MODEL_RESTARTS)
        memset(state, 0, sizeof *state);
    model_step(state, MODEL_END);
}

/* The natural logarithm of the probability of each token as the next one. */
static inline void model_log_probs(const struct model_state *state, float *log_probs)
{
    float largest;
    double total = 0;
    int i;
    model_product(&model_head, MODEL_N_TOKENS, state->h{{ layers | length - 1 }}, log_probs);
    largest = log_probs[0];
    for (i = 1; i < MODEL_N_TOKENS; i++)
        if (log_probs[i] > largest)
            largest = log_probs[i];
    for (i = 0; i < MODEL_N_TOKENS; i++)
        total += exp((double)log_probs[i] - (double)largest);
    for (i = 0; i < MODEL_N_TOKENS; i++)
        log_probs[i] -= largest + (float)log(total);
}

#endif
