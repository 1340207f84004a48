/* Text as tokens, as the model was trained: {{ text.summary }}.

       static uint32_t points[TEXT_LONGEST], normal[TEXT_LONGEST];
       static int32_t ids[TEXT_MOST_TOKENS];
       long n = text_decode(line, strlen(line), points, TEXT_LONGEST);
       n = text_normalize(points, n, normal, TEXT_LONGEST);
       n = text_encode(normal, n, ids);

   Errors are negative: check n after each of the first two. */
#ifndef TEXT_H
#define TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tables.h"

#ifndef TEXT_LONGEST
#define TEXT_LONGEST 65536 /* characters of one text */
#endif
//% if text.kind == "bpe"
#define TEXT_MOST_TOKENS (4 * (TEXT_LONGEST + 1))
//% else
#define TEXT_MOST_TOKENS TEXT_LONGEST
//% endif

#define TEXT_UNKNOWN 1 /* the id of tokens that are not in the vocabulary */
#define TEXT_END 3     /* the id of the end of a text */

#define TEXT_NOT_UTF8 (-1L)
#define TEXT_TOO_LONG (-2L)


/* UTF-8 */

/* Decode UTF-8. Return the number of code points, TEXT_NOT_UTF8 or TEXT_TOO_LONG. */
static inline long text_decode(const char *bytes, size_t n_bytes, uint32_t *points, long most)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)bytes, *end = at + n_bytes;
    long n = 0;
    while (at < end) {
        const uint32_t first = *at;
        const int size = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3
                         : first < 0xF5 ? 4 : 0;
        uint32_t point = size == 1 ? first : first & (0xFFu >> (size + 1));
        int i;
        if (size == 0 || end - at < size)
            return TEXT_NOT_UTF8;
        for (i = 1; i < size; i++) {
            if ((at[i] & 0xC0u) != 0x80u)
                return TEXT_NOT_UTF8;
            point = (point << 6) | (at[i] & 0x3Fu);
        }
        if (point < least[size] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
            return TEXT_NOT_UTF8;
        if (n == most)
            return TEXT_TOO_LONG;
        points[n++] = point;
        at += size;
    }
    return n;
}

/* Encode a code point as UTF-8. Return the number of bytes, at most 4. */
static inline int text_put(uint32_t point, char *bytes)
{
    if (point < 0x80) {
        bytes[0] = (char)point;
        return 1;
    }
    if (point < 0x800) {
        bytes[0] = (char)(0xC0 | (point >> 6));
        bytes[1] = (char)(0x80 | (point & 0x3F));
        return 2;
    }
    if (point < 0x10000) {
        bytes[0] = (char)(0xE0 | (point >> 12));
        bytes[1] = (char)(0x80 | ((point >> 6) & 0x3F));
        bytes[2] = (char)(0x80 | (point & 0x3F));
        return 3;
    }
    bytes[0] = (char)(0xF0 | (point >> 18));
    bytes[1] = (char)(0x80 | ((point >> 12) & 0x3F));
    bytes[2] = (char)(0x80 | ((point >> 6) & 0x3F));
    bytes[3] = (char)(0x80 | (point & 0x3F));
    return 4;
}


/* Classes of characters */

/* White space as in Unicode. */
static inline int text_is_space(uint32_t p)
{
    return (p >= 9 && p <= 13) || p == 0x20 || p == 0x85 || p == 0xA0 || p == 0x1680
           || (p >= 0x2000 && p <= 0x200A) || p == 0x2028 || p == 0x2029 || p == 0x202F
           || p == 0x205F || p == 0x3000;
}

/* Whether a text is empty or only white space, as a line that is not answered. */
static inline int text_is_blank(const uint32_t *points, long n)
{
    long i;
    for (i = 0; i < n; i++)
        if (!text_is_space(points[i]) && !(points[i] >= 0x1C && points[i] <= 0x1F))
            return 0;
    return 1;
}

//% if text.classes
/* Whether a point is in one of n ranges, which are in order. */
static inline int text_is_in(uint32_t point, const struct text_range *ranges, long n)
{
    long low = 0, high = n;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (point > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && point >= ranges[low].first;
}

//%   for name in text.classes
#define TEXT_IS_{{ name | upper }}(point) text_is_in((point), text_all_{{ name }}, TEXT_N_{{ name | upper }})
//%   endfor

//% endif

/* Unicode normal form C: an "e" with a combining accent becomes "é". */

static inline const struct text_pair *text_pair_of(uint32_t point)
{
    long low = 0, high = TEXT_N_PAIRS - 1;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (point > text_pairs[middle].point)
            low = middle + 1;
        else
            high = middle;
    }
    return text_pairs[low].point == point ? &text_pairs[low] : NULL;
}

/* The canonical combining class: 0 for all but combining marks. */
static inline int text_class_of(uint32_t point)
{
    long low = 0, high = TEXT_N_MARKS - 1;
    if (point < 0x300)
        return 0;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (point > text_marks[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return point >= text_marks[low].first && point <= text_marks[low].last ? text_marks[low].order : 0;
}

/* The parts of a point, at most 4, the last one first. */
static inline int text_parts_of(uint32_t point, uint32_t *parts)
{
    int n = 0;
    const struct text_pair *pair;
    if (point >= 0xAC00 && point <= 0xD7A3) { /* Korean syllables are computed */
        const uint32_t place = point - 0xAC00;
        if (place % 28 != 0)
            parts[n++] = 0x11A7 + place % 28;
        parts[n++] = 0x1161 + place % 588 / 28;
        parts[n++] = 0x1100 + place / 588;
        return n;
    }
    while ((pair = text_pair_of(point)) != NULL) {
        if (pair->second != 0)
            parts[n++] = pair->second;
        point = pair->first;
    }
    parts[n++] = point;
    return n;
}

/* The point that two points compose; 0 if there is none. */
static inline uint32_t text_composed(uint32_t first, uint32_t second)
{
    long low = 0, high = TEXT_N_COMPOSED - 1;
    if (first >= 0x1100 && first <= 0x1112 && second >= 0x1161 && second <= 0x1175)
        return 0xAC00 + ((first - 0x1100) * 21 + (second - 0x1161)) * 28;
    if (first >= 0xAC00 && first <= 0xD7A3 && (first - 0xAC00) % 28 == 0 && second > 0x11A7
        && second <= 0x11C2)
        return first + (second - 0x11A7);
    while (low < high) {
        const long middle = low + (high - low) / 2;
        const struct text_pair *pair = &text_pairs[text_composing[middle]];
        if (first > pair->first || (first == pair->first && second > pair->second))
            low = middle + 1;
        else
            high = middle;
    }
    {
        const struct text_pair *pair = &text_pairs[text_composing[low]];
        return pair->first == first && pair->second == second ? pair->point : 0;
    }
}

/* Compose a decomposed segment in place. Return its new length. */
static inline long text_compose(uint32_t *points, long n)
{
    long starter = 0, length = 1, i;
    int last = text_class_of(points[0]) != 0 ? 256 : 0;
    for (i = 1; i < n; i++) {
        const int order = text_class_of(points[i]);
        const uint32_t both = last < order || last == 0 ? text_composed(points[starter], points[i]) : 0;
        if (both != 0) {
            points[starter] = both;
            continue;
        }
        if (order == 0)
            starter = length;
        last = order;
        points[length++] = points[i];
    }
    return length;
}

/* Convert points to normal form C. Return their number, or TEXT_TOO_LONG. */
static inline long text_compose_all(const uint32_t *points, long n, uint32_t *normal, long most)
{
    long length = 0, i = 0;
    while (i < n) {
        /* A segment ends before a character that cannot combine with the one before it. */
        const long start = length;
        do {
            uint32_t parts[4];
            int part = text_parts_of(points[i], parts);
            while (part-- > 0) {
                const int order = text_class_of(parts[part]);
                long place = length;
                if (length == most)
                    return TEXT_TOO_LONG;
                while (order != 0 && place > start && text_class_of(normal[place - 1]) > order) {
                    normal[place] = normal[place - 1];
                    place--;
                }
                normal[place] = parts[part];
                length++;
            }
            i++;
        } while (i < n && points[i] >= 0x300);
        length = start + text_compose(normal + start, length - start);
    }
    return length;
}
//% if text.lowercase

/* Convert a point to lower case. Return the number of points, 1 or 2. */
static inline int text_lower(uint32_t point, uint32_t *lower)
{
    long low = 0, high = TEXT_N_CAPITALS - 1;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (point > text_capitals[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    lower[0] = point;
    if (point == 0x130) { /* a capital I with a dot */
        lower[0] = 'i';
        lower[1] = 0x307;
        return 2;
    }
    if (point >= text_capitals[low].first && point <= text_capitals[low].last
        && (point - text_capitals[low].first) % text_capitals[low].step == 0)
        lower[0] = (uint32_t)((int32_t)point + text_capitals[low].change);
    return 1;
}
//% endif

/* Convert a text to the form of the vocabulary: normal form C{{ ", in lower case" if text.lowercase else "" }}.
   Return the number of points, or TEXT_TOO_LONG. */
static inline long text_normalize(const uint32_t *points, long n, uint32_t *normal, long most)
{
//% if text.lowercase
    const long length = text_compose_all(points, n, normal, most);
    long end = length, i;
    uint32_t lower[2];
    for (i = 0; i < length; i++)
        end += text_lower(normal[i], lower) - 1;
    if (length < 0 || end > most)
        return TEXT_TOO_LONG;
    n = end;
    for (i = length - 1; i >= 0; i--) { /* from the end, because a letter may become two */
        int part = text_lower(normal[i], lower);
        while (part-- > 0)
            normal[--end] = lower[part];
    }
    return n;
//% else
    return text_compose_all(points, n, normal, most);
//% endif
}
//% if text.has_letters


/* Characters */

/* The id of a character. */
static inline int32_t text_letter_of(uint32_t point)
{
    long low = 0, high = TEXT_N_POINTS - 1;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (point > text_points[middle])
            low = middle + 1;
        else
            high = middle;
    }
    return text_points[low] == point ? (int32_t)text_point_ids[low] : TEXT_UNKNOWN;
}
//% endif
//% if text.kind == "char"

/* The ids of a normalized text. Return their number. */
static inline long text_encode(const uint32_t *points, long n, int32_t *ids)
{
    long i;
    for (i = 0; i < n; i++)
        ids[i] = text_letter_of(points[i]);
    return n;
}
//% endif
//% if text.kind in ("word", "space")


/* Words */

/* The id of a word. */
static inline int32_t text_id_of(const uint32_t *points, long n)
{
    char word[4 * TEXT_LONGEST_WORD + 1];
    size_t size = 0;
    long low = 0, high = TEXT_N_WORDS - 1, i;
    if (n > TEXT_LONGEST_WORD)
        return TEXT_UNKNOWN;
    for (i = 0; i < n; i++) {
        if (points[i] == 0)
            return TEXT_UNKNOWN;
        size += (size_t)text_put(points[i], word + size);
    }
    word[size] = '\0';
    while (low < high) {
        const long middle = low + (high - low) / 2;
        if (strcmp(word, text_words[middle]) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return strcmp(word, text_words[low]) == 0 ? (int32_t)text_word_ids[low] : TEXT_UNKNOWN;
}
//%   if text.kind == "word"

static inline int text_is_apostrophe(uint32_t point)
{
    return point == '\'' || point == 0x2019;
}

/* Whether a point is a letter in this form or the other; "s" also matches the long s. */
static inline int text_is_letter(uint32_t point, char small)
{
    return point == (uint32_t)small || point + 32 == (uint32_t)small || (small == 's' && point == 0x17F);
}

/* Whether the point at a place belongs to a word: a letter, mark or digit, or an underscore. */
static inline int text_in_word(const uint32_t *text, long n, long at)
{
    return at >= 0 && at < n && TEXT_IS_WORD(text[at]);
}

/* The end of "n't" at a place; 0 if it is not there. */
static inline long text_negation(const uint32_t *text, long n, long at)
{
    return at + 3 <= n && text_is_letter(text[at], 'n') && text_is_apostrophe(text[at + 1])
                   && text_is_letter(text[at + 2], 't') && !text_in_word(text, n, at + 3)
               ? at + 3
               : 0;
}

/* The end of "'s", "'m", "'d", "'ll", "'re" or "'ve" at a place; 0 if none is there. */
static inline long text_clitic(const uint32_t *text, long n, long at)
{
    static const char endings[6][3] = {"s", "m", "d", "ll", "re", "ve"};
    int i;
    if (at >= n || !text_is_apostrophe(text[at]))
        return 0;
    for (i = 0; i < 6; i++) {
        const long size = endings[i][1] == '\0' ? 1 : 2;
        if (at + 1 + size <= n && text_is_letter(text[at + 1], endings[i][0])
            && (size == 1 || text_is_letter(text[at + 2], endings[i][1]))
            && !text_in_word(text, n, at + 1 + size))
            return at + 1 + size;
    }
    return 0;
}

/* The end of a number with separators, such as 25.5 or 10:40h; 0 if none is at this place. */
static inline long text_number(const uint32_t *text, long n, long at)
{
    int parts = 0;
    while (at < n && TEXT_IS_NUMBER(text[at])) {
        while (at < n && TEXT_IS_NUMBER(text[at]))
            at++;
        parts++;
        if (at + 1 >= n || (text[at] != '.' && text[at] != ',' && text[at] != ':' && text[at] != '/')
            || !TEXT_IS_NUMBER(text[at + 1]))
            break;
        at++;
    }
    if (parts < 2)
        return 0;
    while (text_in_word(text, n, at))
        at++;
    return at;
}

/* The end of an abbreviation such as U.S. or a.m.; 0 if none is at this place. */
static inline long text_abbreviation(const uint32_t *text, long n, long at)
{
    int parts = 0;
    for (;;) {
        long end = at;
        while (end < n && end < at + 2 && TEXT_IS_LETTER(text[end]))
            end++;
        if (end == at || end >= n || text[end] != '.')
            break;
        at = end + 1;
        parts++;
    }
    return parts >= 2 && !text_in_word(text, n, at) ? at : 0;
}

/* The end of letters up to where "n't" begins or no letter follows; 0 if there is no letter. */
static inline long text_letters(const uint32_t *text, long n, long at)
{
    if (!text_in_word(text, n, at))
        return 0;
    do
        at++;
    while (text_in_word(text, n, at) && !text_negation(text, n, at));
    return at;
}

/* The end of the word or punctuation mark that begins at a place, where there is no white space. */
static inline long text_word_end(const uint32_t *text, long n, long at)
{
    const int inside = text_in_word(text, n, at - 1);
    const uint32_t first = text[at];
    long end;
    if ((end = text_number(text, n, at)) != 0)
        return end;
    if (!inside && (end = text_abbreviation(text, n, at)) != 0)
        return end;
    if (!inside && TEXT_IS_LETTER(first) && at + 1 < n) { /* C++, C# */
        if (text[at + 1] == '#')
            return at + 2;
        if (text[at + 1] == '+' && at + 2 < n && text[at + 2] == '+')
            return at + 3;
    }
    if (inside && (end = text_negation(text, n, at)) != 0)
        return end;
    if (inside && (end = text_clitic(text, n, at)) != 0)
        return end;
    if ((end = text_letters(text, n, at)) != 0) {
        if (text_negation(text, n, end))
            return end;
        while (end + 1 < n && (text_is_apostrophe(text[end]) || text[end] == '-')
               && !text_clitic(text, n, end) && text_in_word(text, n, end + 1))
            end = text_letters(text, n, end + 1);
        return end;
    }
    end = at + 1;
    if (first == '.' || first == '-')
        while (end < n && text[end] == first)
            end++;
    return end;
}
//%   else

/* The end of the word that begins at a place, where there is no white space. */
static inline long text_word_end(const uint32_t *text, long n, long at)
{
    while (at < n && !text_is_space(text[at]))
        at++;
    return at;
}
//%   endif

/* The ids of a normalized text. Return their number. */
static inline long text_encode(const uint32_t *points, long n, int32_t *ids)
{
    long n_ids = 0, at = 0;
    while (at < n) {
        const long end = text_is_space(points[at]) ? at : text_word_end(points, n, at);
        if (end == at) {
            at++;
            continue;
        }
        ids[n_ids++] = text_id_of(points + at, end - at);
        at = end;
    }
    return n_ids;
}
//% endif
//% if text.kind == "bpe"


/* Byte pairs */

/* The place of a merge of two tokens in the table; -1 if they are not merged. */
static inline long text_merge_of(int32_t left, int32_t right)
{
    long low = 0, high = TEXT_N_MERGES - 1;
    while (low < high) {
        const long middle = low + (high - low) / 2;
        const struct text_merge *merge = &text_merges[middle];
        if (left > (int32_t)merge->left || (left == (int32_t)merge->left && right > (int32_t)merge->right))
            low = middle + 1;
        else
            high = middle;
    }
    return (int32_t)text_merges[low].left == left && (int32_t)text_merges[low].right == right ? low : -1;
}

/* Merge the bytes of a piece, the first learned pair first. Return the number of tokens. */
static inline long text_merge(int32_t *ids, long n)
{
    for (;;) {
        long best = -1, place = 0, i;
        for (i = 0; i + 1 < n; i++) {
            const long merge = text_merge_of(ids[i], ids[i + 1]);
            if (merge >= 0 && (best < 0 || text_merges[merge].rank < text_merges[best].rank)) {
                best = merge;
                place = i;
            }
        }
        if (best < 0)
            return n;
        ids[place] = (int32_t)text_merges[best].merged;
        n--;
        memmove(ids + place + 1, ids + place + 2, (size_t)(n - place - 1) * sizeof *ids);
    }
}

static inline int text_is_apostrophe(uint32_t point)
{
    return point == '\'' || point == 0x2019;
}

/* The end of the piece that begins at a place: a word, a digit, punctuation marks or white space, most of
   them with the blank before them. */
static inline long text_piece_end(const uint32_t *text, long n, long at)
{
    const long start = at;
    long end = text[at] == ' ' && at + 1 < n && !text_is_space(text[at + 1]) ? at + 1 : at;
    if (text_is_space(text[end])) {
        while (end < n && text_is_space(text[end]))
            end++;
        return end < n && end > start + 1 ? end - 1 : end; /* the last one belongs to the next piece */
    }
    if (TEXT_IS_NUMBER(text[end]))
        return end + 1;
    if (TEXT_IS_LETTER_OR_MARK(text[end])) {
        while (end < n && TEXT_IS_LETTER_OR_MARK(text[end])) {
            end++;
            if (end + 1 < n && text_is_apostrophe(text[end]) && TEXT_IS_LETTER_OR_MARK(text[end + 1]))
                end++;
        }
        return end;
    }
    while (end < n && !text_is_space(text[end]) && !TEXT_IS_NUMBER(text[end])
           && !TEXT_IS_LETTER_OR_MARK(text[end]))
        end++;
    return end;
}

/* The ids of a part of a normalized text that begins and ends between pieces. Return their number. */
static inline long text_encode_part(const uint32_t *points, long n, int32_t *ids)
{
    long n_ids = 0, at = 0;
    while (at < n) {
        const long end = text_piece_end(points, n, at);
        int32_t *piece = ids + n_ids;
        long size = 0;
        for (; at < end; at++) {
            char bytes[4];
            const int n_bytes = text_put(points[at], bytes);
            int i;
            for (i = 0; i < n_bytes; i++)
                piece[size++] = text_byte_ids[(unsigned char)bytes[i]];
        }
        n_ids += text_merge(piece, size);
    }
    return n_ids;
}

/* The ids of a normalized text. Return their number. */
static inline long text_encode(const uint32_t *points, long n, int32_t *ids)
{
//%   if text.prefix
    /* A text is read as with a blank before it, so that a word is the same token everywhere. */
    static uint32_t spaced[TEXT_LONGEST + 1];
    if (n == 0)
        return 0;
    spaced[0] = ' ';
    memcpy(spaced + 1, points, (size_t)n * sizeof *points);
    return text_encode_part(spaced, n + 1, ids);
//%   else
    return text_encode_part(points, n, ids);
//%   endif
}
//% endif

#endif
