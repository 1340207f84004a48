/* {{ title }}

   {{ about }}

       static struct model_state state;
       float probabilities[MODEL_N_LABELS];

       model_predict(&state, tokens, n_tokens, probabilities);

   model_labels has the names of the labels. No memory is allocated, and nothing is global but constants.
   text.h turns text into tokens; main.c shows how all is used. */
#ifndef MODEL_H
#define MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "weights.h"

#define MODEL_N_LABELS {{ n_labels }}
//% if several
#define MODEL_SEVERAL 1 /* a text may have several labels, or none */
//% else
#define MODEL_SEVERAL 0 /* a text has one label */
//% endif
#ifndef MODEL_LONGEST
#define MODEL_LONGEST {{ longest }} /* tokens of a text that are read */
#endif
#define MODEL_N_FIRST {{ n_first }}   /* of these, how many are from the beginning of a longer text */
#define MODEL_WIDTH {{ width }}     /* numbers of a row: an embedding, or the outputs of a layer */
#define MODEL_OUTPUT {{ depths | length % 2 }}
#define MODEL_UNITS {{ n_outputs }}     /* outputs of the last layer */

static const char *const model_labels[MODEL_N_LABELS] = {
{{ label_names }}
};

/* The memory that the model needs to read a text. */
struct model_state {
    float rows[2][MODEL_LONGEST][MODEL_WIDTH];
};

//% include "cells.h"

//% include "reading.h"

/* Combine the outputs of all tokens into one vector: {{ pooling.about }}. */
static inline void model_pool(float (*outputs)[MODEL_WIDTH], int n, float *pooled)
{
//% if pooling.kind == "final"
    const int half = {{ forward_size }};
    memset(pooled, 0, MODEL_UNITS * sizeof *pooled);
    if (n > 0) {
        memcpy(pooled, outputs[n - 1], (size_t)half * sizeof *pooled);
        memcpy(pooled + half, outputs[0] + half, (size_t)(MODEL_UNITS - half) * sizeof *pooled);
    }
//% elif pooling.kind == "mean"
    int i, t;
    for (i = 0; i < MODEL_UNITS; i++) {
        pooled[i] = 0;
        for (t = 0; t < n; t++)
            pooled[i] += outputs[t][i];
        if (n > 0)
            pooled[i] /= (float)n;
    }
//% elif pooling.kind == "max"
    int i, t;
    for (i = 0; i < MODEL_UNITS; i++) {
        pooled[i] = n > 0 ? outputs[0][i] : 0;
        for (t = 1; t < n; t++)
            if (outputs[t][i] > pooled[i])
                pooled[i] = outputs[t][i];
    }
//% else
    float weights[MODEL_LONGEST], read[MODEL_UNITS], largest = 0, total = 0;
    int i, t;
    for (t = 0; t < n; t++) {
        weights[t] = 0;
        model_product(&model_attention, MODEL_UNITS, outputs[t], read);
        for (i = 0; i < MODEL_UNITS; i++)
            weights[t] += model_query[i] * tanhf(read[i]);
        if (t == 0 || weights[t] > largest)
            largest = weights[t];
    }
    for (t = 0; t < n; t++) {
        weights[t] = expf(weights[t] - largest);
        total += weights[t];
    }
    for (i = 0; i < MODEL_UNITS; i++) {
        pooled[i] = 0;
        for (t = 0; t < n; t++)
            pooled[i] += weights[t] / total * outputs[t][i];
    }
//% endif
}

/* The probability of each label for a text of n tokens, at most MODEL_LONGEST. */
static inline void model_predict(struct model_state *state, const int32_t *tokens, int n, float *probabilities)
{
    float pooled[MODEL_UNITS];
    int i, t;
//% if not several
    float largest, total = 0;
//% endif
//% if shares
    /* Without a word that occurred in training, how common the labels are. */
    int n_known = 0;
    for (t = 0; t < n; t++)
        n_known += model_known[tokens[t]];
    if (n_known == 0) {
        memcpy(probabilities, model_shares, sizeof model_shares);
        return;
    }
//% endif
    for (t = 0; t < n; t++)
        model_embed(&model_embedding, tokens[t], state->rows[0][t]);
    model_read_all(state, n);
    model_pool(state->rows[MODEL_OUTPUT], n, pooled);
    model_product(&model_head, MODEL_N_LABELS, pooled, probabilities);
//% if several
    for (i = 0; i < MODEL_N_LABELS; i++)
        probabilities[i] = 1.0f / (1.0f + expf(-probabilities[i]));
//% else
    largest = probabilities[0];
    for (i = 1; i < MODEL_N_LABELS; i++)
        if (probabilities[i] > largest)
            largest = probabilities[i];
    for (i = 0; i < MODEL_N_LABELS; i++) {
        probabilities[i] = expf(probabilities[i] - largest);
        total += probabilities[i];
    }
    for (i = 0; i < MODEL_N_LABELS; i++)
        probabilities[i] /= total;
//% endif
}

/* Whether a label is predicted. */
static inline int model_has_label(const float *probabilities, int label)
{
//% if several
    return (double)probabilities[label] >= model_thresholds[label];
//% else
    int i;
    for (i = 0; i < MODEL_N_LABELS; i++)
        if (probabilities[i] > probabilities[label] || (i < label && !(probabilities[i] < probabilities[label])))
            return 0;
    return 1;
//% endif
}

#endif
