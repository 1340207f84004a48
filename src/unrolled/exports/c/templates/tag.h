/* {{ title }}

   {{ about }}

       static struct model_state state;
       static int32_t tags[MODEL_LONGEST];

       model_begin(&state);
       model_add(&state, word{{ ", letters, n_letters" if spells else "" }});    for each word of a sentence
       n = model_finish(&state, tags);

   model_tags has the names of the tags. No memory is allocated, and nothing is global but constants.
   text.h turns text into words; main.c shows how all is used. */
#ifndef MODEL_H
#define MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "weights.h"

#define MODEL_N_TAGS {{ n_tags }}
#ifndef MODEL_LONGEST
#define MODEL_LONGEST 4096 /* words of a sentence */
#endif
#define MODEL_PIECE {{ piece }} /* words that are read at once; longer sentences are read in pieces */
#define MODEL_MOST_LETTERS {{ most_letters }} /* letters of a word that are read */
#define MODEL_WIDTH {{ width }} /* numbers of a row: an embedding, or the outputs of a layer */
#define MODEL_OUTPUT {{ depths | length % 2 }}

static const char *const model_tags[MODEL_N_TAGS] = {
{{ label_names }}
};

/* The memory that the model needs to read a sentence. */
struct model_state {
    float rows[2][MODEL_PIECE][MODEL_WIDTH];
    float scores[MODEL_LONGEST][MODEL_N_TAGS]; /* of the words that have been read */
    int n_rows, n_scores;
//% if crf
    {{ from_type }} from[MODEL_LONGEST][MODEL_N_TAGS]; /* the best tag before each tag */
//% endif
};

//% include "cells.h"

//% include "reading.h"

/* Read the words that were added, and compute the score of each tag. */
static inline void model_read_piece(struct model_state *state)
{
    int t;
    model_read_all(state, state->n_rows);
    for (t = 0; t < state->n_rows; t++, state->n_scores++)
        model_product(&model_head, MODEL_N_TAGS, state->rows[MODEL_OUTPUT][t], state->scores[state->n_scores]);
    state->n_rows = 0;
}

/* Begin a sentence. */
static inline void model_begin(struct model_state *state)
{
    state->n_rows = state->n_scores = 0;
}
//% if spells

/* Read the letters of a word in both directions; the last states describe its spelling. */
static inline void model_spell(const int32_t *letters, int n, float *spelling)
{
    float x[MODEL_WIDEST];
//% if cell.name == "lstm"
    float c[2][MODEL_WIDEST] = {{ "{{0}}" }};
//% endif
    int i;
    memset(spelling, 0, {{ 2 * letter_size }} * sizeof *spelling);
    for (i = 0; i < n; i++) {
        model_embed(&model_letters, letters[i], x);
        model_cell(&model_spelling0, x, spelling{{ ", c[0]" if cell.name == "lstm" else "" }});
        model_embed(&model_letters, letters[n - 1 - i], x);
        model_cell(&model_spelling0_back, x, spelling + {{ letter_size }}{{ ", c[1]" if cell.name == "lstm" else "" }});
    }
}
//% endif

/* Add a word{{ " with its letters, at most MODEL_MOST_LETTERS" if spells else "" }}. Return 0 if the sentence has MODEL_LONGEST words already. */
static inline int model_add(struct model_state *state, int32_t word{{ ", const int32_t *letters, int n_letters" if spells else "" }})
{
    float *row;
    if (state->n_scores + state->n_rows == MODEL_LONGEST)
        return 0;
    if (state->n_rows == MODEL_PIECE)
        model_read_piece(state);
    row = state->rows[0][state->n_rows++];
    model_embed(&model_embedding, word, row);
//% if spells
    model_spell(letters, n_letters, row + {{ embedding_size }});
//% endif
    return 1;
}

/* End a sentence: {{ "the most probable sequence of tags (Viterbi)" if crf else "the most probable tag of each word" }}. Return the number of words. */
static inline int model_finish(struct model_state *state, int32_t *tags)
{
    int t, tag;
//% if crf
    double score[2][MODEL_N_TAGS];
    model_read_piece(state);
    for (t = 0; t < state->n_scores; t++) {
        const double *before = score[(t + 1) % 2];
        double *here = score[t % 2];
        for (tag = 0; tag < MODEL_N_TAGS; tag++) {
            int best = 0, other;
            if (t == 0) {
                here[tag] = model_start[tag];
            } else {
                for (other = 1; other < MODEL_N_TAGS; other++)
                    if (before[other] + model_transition[other * MODEL_N_TAGS + tag]
                        > before[best] + model_transition[best * MODEL_N_TAGS + tag])
                        best = other;
                here[tag] = before[best] + model_transition[best * MODEL_N_TAGS + tag];
            }
            state->from[t][tag] = ({{ from_type }})best;
            here[tag] += (double)state->scores[t][tag];
        }
    }
    if (state->n_scores > 0) {
        const double *last = score[(state->n_scores + 1) % 2];
        int best = 0;
        for (tag = 1; tag < MODEL_N_TAGS; tag++)
            if (last[tag] + model_end[tag] > last[best] + model_end[best])
                best = tag;
        for (t = state->n_scores - 1; t >= 0; t--) {
            tags[t] = best;
            best = state->from[t][best];
        }
    }
//% else
    model_read_piece(state);
    for (t = 0; t < state->n_scores; t++) {
        tags[t] = 0;
        for (tag = 1; tag < MODEL_N_TAGS; tag++)
            if (state->scores[t][tag] > state->scores[t][tags[t]])
                tags[t] = tag;
    }
//% endif
    return state->n_scores;
}

#endif
