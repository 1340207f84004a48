/* The vocabulary, and the characters that the rules of text.h tell apart. */
#ifndef TABLES_H
#define TABLES_H

#include <stdint.h>

/* A point that decomposes into one or two points; the second may be 0. */
struct text_pair {
    uint32_t point, first, second;
};

/* Combining marks from first to last, and their place in the order of marks. */
struct text_mark {
    uint32_t first, last;
    int order;
};
//% if text.lowercase

/* Capitals from first to last, every step, and what is added to get the small letter. */
struct text_capital {
    uint32_t first, last, step;
    int32_t change;
};
//% endif
//% if text.classes

struct text_range {
    uint32_t first, last;
};
//% endif
//% if text.kind == "bpe"

/* Two tokens that become one; those with the lowest rank first. */
struct text_merge {
    {{ text.merge_type }} left, right, rank, merged;
};
//% endif
//% if text.longest_word

#define TEXT_LONGEST_WORD {{ text.longest_word }} /* characters of the longest word */
//% endif
//% for table in text.tables

//% if table.macro
#define {{ table.macro }} {{ table.size }}
//% endif
static const {{ table.type }} {{ table.name }}[{{ table.size }}] = {
{{ table.values }}
};
//% endfor

#endif
