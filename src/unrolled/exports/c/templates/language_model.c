/* {{ title }}

       cc -O2 -o model main.c -lm
       ./model generate < prompt.txt       continue a text (see ./model help for options)
       ./model complete < lines.txt        complete the last word of each line
       ./model score < text.txt            how probable a text is */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "text.h"

#define LONGEST_STOP 1000 /* bytes of a stop string */
#define MOST_STOPS 16
#define MOST_COMPLETIONS 100

static char input[4 * TEXT_LONGEST + 1];
static uint32_t points[TEXT_LONGEST], normal[TEXT_LONGEST];
static int32_t ids[TEXT_MOST_TOKENS];
static float log_probs[MODEL_N_TOKENS];

static void fail(const char *problem)
{
    fflush(stdout);
    fprintf(stderr, "model: %s\n", problem);
    exit(2);
}

static const char *problem_of(long error)
{
    return error == TEXT_NOT_UTF8 ? "the text is not UTF-8; convert it" : "the text is too long; compile with a larger TEXT_LONGEST";
}

/* The normal form of a part of a text, in `normal`. */
static long normalized(const char *text, size_t size)
{
    long n = text_decode(text, size, points, TEXT_LONGEST);
    if (n >= 0)
        n = text_normalize(points, n, normal, TEXT_LONGEST);
    if (n < 0)
        fail(problem_of(n));
    return n;
}

/* The place where one document ends and the next begins; the end of the text if there is none. */
static const char *border_in(const char *at, const char *end)
{
    const size_t size = strlen(MODEL_BORDER);
    for (; size > 0 && (size_t)(end - at) >= size; at++)
        if (memcmp(at, MODEL_BORDER, size) == 0)
            return at;
    return end;
}

/* Read standard input: at most TEXT_LONGEST characters, without a byte order mark, lines ending in "\n". */
static size_t read_input(void)
{
    size_t size = fread(input, 1, sizeof input, stdin), from = 0, to = 0;
    if (size == sizeof input)
        fail(problem_of(TEXT_TOO_LONG));
    if (size >= 3 && memcmp(input, "\357\273\277", 3) == 0)
        from = 3;
    for (; from < size; from++)
        if (input[from] != '\r' || from + 1 == size || input[from + 1] != '\n')
            input[to++] = input[from];
    return to;
}

/* Read a text of several documents. Return the number of points of the last one, which is in `normal`. */
static long read_text(struct model_state *state, const char *text, size_t size)
{
    const char *end = text + size;
    model_begin(state);
    for (;;) {
        const char *border = border_in(text, end);
        const long n = normalized(text, (size_t)(border - text)), n_ids = text_encode(normal, n, ids);
        long i;
        for (i = 0; i < n_ids; i++)
            model_step(state, ids[i]);
        if (border == end)
            return n;
        model_next_document(state);
        text = border + strlen(MODEL_BORDER);
    }
}


/* Random numbers: the generator of NumPy, numpy.random.default_rng(seed).random()

   O'Neill 2014, "PCG: a family of simple fast space-efficient statistically good algorithms for random
   number generation": 128 bits of state, of which 64 are returned. */

struct random {
    uint64_t high, low, step_high, step_low;
};

/* a b + c, modulo 2^128, into a */
static void multiply_add(uint64_t *high, uint64_t *low, uint64_t b_high, uint64_t b_low, uint64_t c_high, uint64_t c_low)
{
    const uint64_t a0 = *low & 0xFFFFFFFFu, a1 = *low >> 32, b0 = b_low & 0xFFFFFFFFu, b1 = b_low >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & 0xFFFFFFFFu);
    const uint64_t carried = a1 * b1 + (middle >> 32) + (other >> 32);
    const uint64_t product = *low * b_low;
    *high = carried + *high * b_low + *low * b_high + c_high;
    *low = product + c_low;
    if (*low < product)
        ++*high;
}

static uint64_t random_bits(struct random *random)
{
    uint64_t mixed;
    unsigned turn;
    multiply_add(&random->high, &random->low, 0x2360ED051FC65DA4u, 0x4385DF649FCCF645u, random->step_high,
                 random->step_low);
    mixed = random->high ^ random->low;
    turn = (unsigned)(random->high >> 58);
    return mixed >> turn | mixed << ((64 - turn) & 63);
}

/* A number from 0 to 1, without 1. */
static double random_share(struct random *random)
{
    return (double)(random_bits(random) >> 11) / 9007199254740992.0;
}

static uint32_t hashed(uint32_t value, uint32_t *constant, uint32_t factor)
{
    value ^= *constant;
    *constant *= factor;
    value *= *constant;
    return value ^ value >> 16;
}

/* Begin with a seed, as numpy.random.SeedSequence does. */
static void random_begin(struct random *random, uint64_t seed)
{
    uint32_t pool[4], words[8], constant = 0x43B0D7E5u;
    uint64_t begin_high, begin_low;
    int i, j;
    for (i = 0; i < 4; i++)
        pool[i] = hashed(i == 0 ? (uint32_t)seed : i == 1 ? (uint32_t)(seed >> 32) : 0, &constant, 0x931E8875u);
    for (i = 0; i < 4; i++)
        for (j = 0; j < 4; j++)
            if (i != j) {
                const uint32_t value = 0xCA01F9DDu * pool[j] - 0x4973F715u * hashed(pool[i], &constant, 0x931E8875u);
                pool[j] = value ^ value >> 16;
            }
    constant = 0x8B51F9DDu;
    for (i = 0; i < 8; i++)
        words[i] = hashed(pool[i % 4], &constant, 0x58F38DEDu);
    begin_high = (uint64_t)words[1] << 32 | words[0];
    begin_low = (uint64_t)words[3] << 32 | words[2];
    random->step_high = (uint64_t)words[5] << 32 | words[4];
    random->step_low = (uint64_t)words[7] << 32 | words[6];
    random->step_high = random->step_high << 1 | random->step_low >> 63;
    random->step_low = random->step_low << 1 | 1;
    random->high = random->step_high;
    random->low = random->step_low;
    random->low += begin_low;
    random->high += begin_high + (random->low < begin_low);
    random_bits(random);
}


/* Sampling */

struct options {
    long max_tokens, top_k, n;
    double temperature, top_p;
    uint64_t seed;
    int stop_at_end, n_stops;
    const char *stops[MOST_STOPS];
};

static double shares[MODEL_N_TOKENS];
static int32_t order[MODEL_N_TOKENS];

static int by_share(const void *first, const void *second)
{
    const int32_t a = *(const int32_t *)first, b = *(const int32_t *)second;
    if (shares[a] != shares[b])
        return shares[a] > shares[b] ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* Whether a token can be written: all but padding, the unknown token and the begin of a text. */
static int is_written(int32_t token)
{
    return token >= MODEL_END;
}

/* The next token: the most probable one, or one that is drawn. */
static int32_t choose(const struct options *options, struct random *random)
{
    int32_t n = 0, last, i, best = MODEL_END;
    double total = 0, sum = 0, target;
    for (i = MODEL_END; i < MODEL_N_TOKENS; i++)
        if (log_probs[i] > log_probs[best])
            best = i;
    if (options->temperature <= 0)
        return best;
    for (i = 0; i < MODEL_N_TOKENS; i++) {
        shares[i] = 0;
        if (!is_written(i))
            continue;
        order[n++] = i;
        shares[i] = exp((double)log_probs[i] / options->temperature - (double)log_probs[best] / options->temperature);
    }
    if (options->top_k > 0 || options->top_p < 1)
        qsort(order, (size_t)n, sizeof *order, by_share);
    if (options->top_k > 0 && options->top_k < n)
        n = (int32_t)options->top_k;
    for (i = 0; i < n; i++)
        total += shares[order[i]];
    for (last = 0; last < n; last++) { /* the nucleus */
        sum += shares[order[last]] / total;
        if (last + 1 == n || (options->top_p < 1 && sum >= options->top_p))
            break;
    }
    target = random_share(random) * sum;
    sum = 0;
    for (i = 0; i < last; i++) {
        sum += shares[order[i]] / total;
        if (sum > target)
            break;
    }
    return order[i];
}


/* Output up to the first stop string */

struct writer {
    const struct options *options;
    char held[LONGEST_STOP + sizeof MODEL_BORDER + 8]; /* what may become a stop string */
    size_t n_held;
    char last;
    int stopped;
};

static void put(struct writer *writer, size_t size)
{
    if (size == 0)
        return;
    fwrite(writer->held, 1, size, stdout);
    writer->last = writer->held[size - 1];
    writer->n_held -= size;
    memmove(writer->held, writer->held + size, writer->n_held);
}

/* How a stop string matches at a place: 2 if all of it is there, 1 if it may go on after what is held. */
static int stop_at(const struct writer *writer, size_t at)
{
    int i, found = 0;
    for (i = 0; i < writer->options->n_stops && found < 2; i++) {
        const char *stop = writer->options->stops[i];
        const size_t size = strlen(stop), left = writer->n_held - at;
        if (memcmp(writer->held + at, stop, size < left ? size : left) == 0)
            found = size <= left ? 2 : 1;
    }
    return found;
}

static void write_piece(struct writer *writer, const char *piece, size_t size)
{
    size_t at, certain;
    memcpy(writer->held + writer->n_held, piece, size);
    writer->n_held += size;
    certain = writer->n_held;
    for (at = 0; at < writer->n_held; at++) {
        const int found = stop_at(writer, at);
        if (found == 2) {
            put(writer, at);
            writer->stopped = 1;
            return;
        }
        if (found == 1 && at < certain)
            certain = at;
    }
    put(writer, certain);
    fflush(stdout);
}

static void generate(const struct model_state *begin, const struct options *options, uint64_t seed)
{
    struct model_state state = *begin;
    struct random random;
    struct writer writer = {0};
    long n;
    writer.options = options;
    random_begin(&random, seed);
    for (n = 0; n < options->max_tokens && !writer.stopped; n++) {
        char bytes[4];
        int32_t token;
        model_log_probs(&state, log_probs);
        token = choose(options, &random);
        if (token == MODEL_END) {
            if (options->stop_at_end)
                break;
            write_piece(&writer, *MODEL_BORDER ? MODEL_BORDER : "\n", *MODEL_BORDER ? strlen(MODEL_BORDER) : 1);
            model_next_document(&state);
        } else {
            write_piece(&writer, bytes, (size_t)text_put(text_point_of[token], bytes));
            model_step(&state, token);
        }
    }
    if (!writer.stopped)
        put(&writer, writer.n_held);
    if (writer.last != '\n')
        putchar('\n');
}


/* Completion: the most probable next words, found by best-first search */

#define SEARCH_WIDTH 24    /* hypotheses that are extended in a round */
#define SEARCH_ROUNDS 31   /* rounds after which the search ends */
#define SEARCH_CHILDREN 64 /* continuations of a hypothesis that are considered */
#define SEARCH_LONGEST 30  /* characters that are added to a word */
#define SEARCH_NODES (1 + SEARCH_WIDTH * SEARCH_ROUNDS)

#define ENDS 1   /* a word ends before this token */
#define GOES_ON 2
#define BLANK 4
#define LETTER 8 /* a word consists of more than apostrophes */

/* A hypothesis that has been read, and one that waits to be read. */
struct node {
    struct model_state state;
    double log_prob;
    int32_t token;
    int parent, length, has_letter;
};

struct child {
    double log_prob;
    int parent;
    int32_t token;
};

struct word {
    double share;
    int node;
};

static struct node nodes[SEARCH_NODES];
static struct child waiting[SEARCH_NODES]; /* the best first; no more can ever be read */
static struct word words[MOST_COMPLETIONS + 1];
static int n_nodes, n_waiting, n_words;

/* The characters that a hypothesis adds to the word, as UTF-8. */
static int spelling(int node, char *text)
{
    int size = nodes[node].parent < 0 ? 0 : spelling(nodes[node].parent, text);
    if (nodes[node].parent >= 0)
        size += text_put(text_point_of[nodes[node].token], text + size);
    text[size] = '\0';
    return size;
}

static int is_before(int first, int second)
{
    char a[4 * SEARCH_LONGEST + 5], b[4 * SEARCH_LONGEST + 5];
    spelling(first, a);
    spelling(second, b);
    return strcmp(a, b) < 0;
}

/* End the word of a hypothesis: keep it if it is among the k best. */
static void finish(int node, double share, int k)
{
    int place = n_words;
    while (place > 0
           && (share > words[place - 1].share
               || (share == words[place - 1].share && is_before(node, words[place - 1].node))))
        place--;
    if (place == k)
        return;
    if (n_words < k)
        n_words++;
    memmove(words + place + 1, words + place, (size_t)(n_words - place - 1) * sizeof *words);
    words[place].share = share;
    words[place].node = node;
}

/* The log-probability below which a hypothesis cannot become one of the k best words. */
static double least(int k)
{
    return n_words < k || words[k - 1].share <= 0 ? -INFINITY : log(words[k - 1].share);
}

static void enqueue(double log_prob, int parent, int32_t token)
{
    int low = 0, high = n_waiting;
    while (low < high) { /* behind all that are as probable */
        const int middle = (low + high) / 2;
        if (waiting[middle].log_prob >= log_prob)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == SEARCH_NODES)
        return;
    if (n_waiting < SEARCH_NODES)
        n_waiting++;
    memmove(waiting + low + 1, waiting + low, (size_t)(n_waiting - low - 1) * sizeof *waiting);
    waiting[low].log_prob = log_prob;
    waiting[low].parent = parent;
    waiting[low].token = token;
}

/* Queue the continuations of a hypothesis, whose next probabilities are in `probs`. */
static void extend(int node, const float *probs, int may_space, double lowest)
{
    int32_t n = 0, i;
    for (i = 0; i < MODEL_N_TOKENS; i++) {
        shares[i] = (double)probs[i];
        if (text_flags[i] & GOES_ON || (may_space && text_flags[i] & BLANK))
            order[n++] = i;
    }
    qsort(order, (size_t)n, sizeof *order, by_share);
    for (i = 0; i < n && i < SEARCH_CHILDREN; i++) {
        const double total = nodes[node].log_prob + shares[order[i]];
        if (total < lowest || total == -INFINITY)
            break;
        if (nodes[node].length < SEARCH_LONGEST)
            enqueue(total, node, order[i]);
    }
}

/* Complete the word that a text ends with; `has_letter` says whether it is more than apostrophes. */
static void search(const struct model_state *state, int spaced, int has_letter, int k)
{
    static float probs[SEARCH_WIDTH][MODEL_N_TOKENS];
    int round, first = 0, node;
    memset(nodes, 0, sizeof nodes[0]);
    nodes[0].state = *state;
    nodes[0].parent = -1;
    nodes[0].has_letter = has_letter;
    n_nodes = 1;
    n_waiting = n_words = 0;
    for (round = 0; first < n_nodes; round++) {
        double lowest;
        int n_taken = 0;
        for (node = first; node < n_nodes; node++) {
            double ends = 0;
            int32_t i;
            model_log_probs(&nodes[node].state, probs[node - first]);
            for (i = 0; i < MODEL_N_TOKENS; i++)
                if (text_flags[i] & ENDS)
                    ends += exp((double)probs[node - first][i]);
            if (nodes[node].has_letter)
                finish(node, exp(nodes[node].log_prob) * ends, k);
        }
        lowest = least(k);
        for (node = first; node < n_nodes; node++)
            extend(node, probs[node - first], spaced && nodes[node].length == 0, lowest);
        first = n_nodes;
        lowest = least(k);
        while (round < SEARCH_ROUNDS && n_taken < n_waiting && n_taken < SEARCH_WIDTH
               && waiting[n_taken].log_prob > lowest) {
            const struct child *child = &waiting[n_taken++];
            struct node *next = &nodes[n_nodes++];
            *next = nodes[child->parent];
            next->parent = child->parent;
            next->token = child->token;
            next->log_prob = child->log_prob;
            next->length++;
            next->has_letter |= text_flags[child->token] & LETTER;
            model_step(&next->state, child->token);
        }
        n_waiting -= n_taken;
        memmove(waiting, waiting + n_taken, (size_t)n_waiting * sizeof *waiting);
    }
}

/* Complete a line, and print the result as JSON. */
static void complete_line(const char *line, size_t size, int k)
{
    struct model_state state;
    const long n = read_text(&state, line, size);
    static char typed[4 * TEXT_LONGEST + 1];
    char *at = typed;
    long start = n, i;
    int has_letter = 0;
    while (start > 0 && TEXT_IS_IN_WORD(normal[start - 1]))
        start--;
    for (i = start; i < n; i++) {
        has_letter |= normal[i] != '\'' && normal[i] != 0x2019;
        at += text_put(normal[i], at);
    }
    *at = '\0';
    search(&state, start == n && n > 0 && !text_is_blank(normal + n - 1, 1), has_letter, k);
    printf("{\"typed\": \"%s\", \"completions\": [", typed);
    for (i = 0; i < n_words && words[i].share > 0; i++) {
        char added[4 * SEARCH_LONGEST + 5];
        spelling(words[i].node, added);
        printf("%s{\"text\": \"%s%s\", \"probability\": %.9g}", i > 0 ? ", " : "", typed, added,
               words[i].share < 1 ? words[i].share : 1.0);
    }
    printf("]}\n");
    fflush(stdout);
}

static void complete(int k)
{
    size_t size = 0;
    long number = 0;
    int c;
    do {
        c = getchar();
        if (c != '\n' && c != EOF) {
            if (size == sizeof input)
                fail(problem_of(TEXT_TOO_LONG));
            input[size++] = (char)c;
            continue;
        }
        if (c == '\n' || size > 0) {
            const size_t skipped = number++ == 0 && size >= 3 && memcmp(input, "\357\273\277", 3) == 0 ? 3 : 0;
            if (size > 0 && input[size - 1] == '\r')
                size--;
            complete_line(input + skipped, size - skipped, k);
        }
        size = 0;
    } while (c != EOF);
}


/* The probability of a text */

/* Print a number with a comma between thousands. */
static void print_number(double value, int decimals)
{
    char digits[400];
    const char *at = digits;
    int n;
    snprintf(digits, sizeof digits, "%.*f", decimals, value);
    n = (int)strcspn(digits, ".");
    for (; *at != '\0'; at++, n--) {
        if (n > 0 && at != digits && n % 3 == 0)
            putchar(',');
        putchar(*at);
    }
}

static void print_count(long n, const char *noun)
{
    print_number((double)n, 0);
    printf(" %s%s", noun, n == 1 ? "" : "s");
}

static double bits_of(int32_t token)
{
    return -(double)log_probs[token] / 0.69314718055994530942;
}

static void score(const char *text, size_t size)
{
    const char *end = text + size;
    const long n_characters = normalized(text, size);
    struct model_state state;
    double bits = 0;
    long n_tokens = 0;
    if (size == 0)
        fail("nothing to score; the text is empty");
    model_begin(&state);
    for (;;) {
        const char *border = border_in(text, end);
        const long n = text_encode(normal, normalized(text, (size_t)(border - text)), ids);
        long i;
        for (i = 0; i < n; i++) {
            model_log_probs(&state, log_probs);
            bits += bits_of(ids[i]);
            model_step(&state, ids[i]);
        }
        n_tokens += n;
        if (border == end)
            break;
        model_log_probs(&state, log_probs);
        bits += bits_of(MODEL_END);
        n_tokens++;
        model_next_document(&state);
        text = border + strlen(MODEL_BORDER);
    }
    print_number(bits, 1);
    printf(" bits in ");
    print_count(n_tokens, "token");
    printf(", ");
    print_count(n_characters, "character");
    printf("\nperplexity per token ");
    print_number(pow(2, bits / (double)n_tokens), 2);
    printf("\nbits per character %.4f\n", bits / (double)n_characters);
}


/* The command line */

static const char usage[] =
    "usage: model generate [options] < prompt    continue a text\n"
    "         --max-tokens N   (200)             most tokens to generate\n"
    "         --temperature T  (0.8)             below 1 favors likely tokens; 0 takes the most likely one\n"
    "         --top-k K        (0: all)          sample from the K most likely tokens\n"
    "         --top-p P        (1: all)          sample from the most likely tokens that add up to P\n"
    "         --stop TEXT                        stop before this text; may be repeated\n"
    "         --stop-at-end                      stop at the end of the document\n"
    "         --n N            (1)               number of samples\n"
    "         --seed N         (1)               seed of the first sample\n"
    "       model complete [--k K] < lines       complete the last word of each line (5 suggestions)\n"
    "       model score < text                   print the perplexity of a text\n";

/* The number after an option. */
static double number_of(const char *option, const char *text, double lowest, double highest)
{
    char *end;
    const double value = text == NULL ? 0 : strtod(text, &end);
    if (text == NULL || end == text || *end != '\0' || !(value >= lowest && value <= highest)) {
        fprintf(stderr, "model: %s needs a number from %g to %g\n", option, lowest, highest);
        exit(2);
    }
    return value;
}

int main(int n_arguments, char **arguments)
{
    const char *command = n_arguments > 1 ? arguments[1] : "help";
    struct options options = {200, 0, 1, 0.8, 1, 1, 0, 0, {0}};
    long k = 5, i;
    for (i = 2; i < n_arguments; i++) {
        const char *option = arguments[i], *value = i + 1 < n_arguments ? arguments[i + 1] : NULL;
        if (strcmp(option, "--stop-at-end") == 0) {
            options.stop_at_end = 1;
            continue;
        }
        i++;
        if (strcmp(option, "--max-tokens") == 0)
            options.max_tokens = (long)number_of(option, value, 0, 1e9);
        else if (strcmp(option, "--temperature") == 0)
            options.temperature = number_of(option, value, 0, 1e30);
        else if (strcmp(option, "--top-k") == 0)
            options.top_k = (long)number_of(option, value, 0, 1e9);
        else if (strcmp(option, "--top-p") == 0)
            options.top_p = number_of(option, value, 1e-300, 1);
        else if (strcmp(option, "--n") == 0)
            options.n = (long)number_of(option, value, 1, 1e9);
        else if (strcmp(option, "--seed") == 0)
            options.seed = (uint64_t)number_of(option, value, 0, 9e15);
        else if (strcmp(option, "--k") == 0)
            k = (long)number_of(option, value, 1, MOST_COMPLETIONS);
        else if (strcmp(option, "--stop") == 0) {
            if (value == NULL || *value == '\0' || strlen(value) > LONGEST_STOP || options.n_stops == MOST_STOPS)
                fail("--stop needs a text, not too long, and there may not be too many");
            options.stops[options.n_stops++] = value;
        } else
            fail("unknown option; see ./model help");
    }
    if (strcmp(command, "complete") == 0) {
        complete((int)k);
    } else if (strcmp(command, "score") == 0) {
        score(input, read_input());
    } else if (strcmp(command, "generate") == 0) {
        struct model_state state;
        size_t size = read_input();
        if (size > 0 && input[size - 1] == '\n')
            size--;
        read_text(&state, input, size);
        for (i = 0; i < options.n; i++) {
            if (i > 0)
                printf("---\n");
            generate(&state, &options, options.seed + (uint64_t)i);
        }
    } else {
        fputs(usage, strcmp(command, "help") == 0 ? stdout : stderr);
        return strcmp(command, "help") == 0 ? 0 : 2;
    }
    return 0;
}
