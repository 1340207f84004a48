/* Read numbers of tokens, and write the distribution after each: -1 begins anew. Not part of an export. */
#include <stdio.h>

#include "model.h"

int main(void)
{
    static float log_probs[MODEL_N_TOKENS];
    struct model_state state;
    long token;
    while (scanf("%ld", &token) == 1) {
        int i;
        if (token < 0)
            model_begin(&state);
        else if (token == MODEL_END)
            model_next_document(&state);
        else
            model_step(&state, (int32_t)token);
        model_log_probs(&state, log_probs);
        for (i = 0; i < MODEL_N_TOKENS; i++)
            printf("%.9g ", (double)log_probs[i]);
        printf("\n");
    }
    return 0;
}
