/* DistilBERT on CPUs with AVX512-VNNI: token ids -> logits, in one pass over ready-packed int8 weights.

The arithmetic is that of the package's model.onnx (docs/quantisation.md): each token vector becomes uint8 with a scale
of its own, is multiplied with int8 weights in exact integers, and scaled back. What one operator of ONNX Runtime hands
to the next through memory is done here while it is in registers: bias, GELU, residual, norm, peak, quantisation.
Texts lie behind one another without padding, and no sum runs over more than one token vector or one text: a text's
logits are the same bits whoever shares its batch.

Shapes: N tokens of B texts; H hidden, F inner width of the feed-forward layers, D width of a head, T tokens of a text.
Nothing here allocates, locks or keeps state: app/model/native/transformer.py checks every size and owns all memory. Build:
cc -O2 -shared -fPIC -o libtransformer.so transformer.c */

#include <stddef.h>
#include <stdint.h>

enum { VERSION = 2 }; /* of the structs and calls below, as transformer.py has it */

/* VERSION; 0 where this CPU can't run what follows. Stands first, so that it is made of instructions that every CPU has. */
int32_t transformer_version(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni") ? VERSION : 0;
}

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#if defined(__linux__) && __has_include(<amxint8intrin.h>)
#define TILES 1
#define TARGET "avx512f,avx512vnni,fma,amx-tile,amx-int8"
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#define TILES 0
#define TARGET "avx512f,avx512vnni,fma"
#endif

#define PRAGMA(text) _Pragma(#text)
#define EXPANDED(macro, ...) macro(__VA_ARGS__)
#if defined(__clang__)
EXPANDED(PRAGMA, clang attribute push(__attribute__((target(TARGET))), apply_to = function))
#else
EXPANDED(PRAGMA, GCC target(TARGET))
#endif

#include <immintrin.h>
#if defined(EMULATED_TILES) /* a header for the tests: tiles in plain C, on any CPU */
#include EMULATED_TILES
#endif

#define INLINE static inline __attribute__((always_inline))

enum {
    PANEL = 64,  /* output columns at once: four registers */
    ROWS = 6,    /* token vectors at once: 6 x 4 sums, 4 registers of weights and one of tokens are 29 of 32 */
    LANES = 16   /* float32 in a register */
};

/* How token vectors become uint8, as model_export/quantise.py has it. */
enum { ZERO = 128, LEVELS = 127, GELU_ZERO = 32, GELU_LEVELS = 223 };
static const float GELU_LEAST_SCALE = 0.1701f / 32;

typedef struct {
    const int8_t *weights;  /* [outputs / PANEL][inputs / 4][PANEL][4] */
    const int32_t *offsets; /* [outputs]: where sums begin, - zero point x sum of the column */
    const float *scales, *bias; /* [outputs] */
    int32_t inputs, outputs;
} Linear;

typedef struct {
    const float *weight, *bias; /* [H] */
} Norm;

typedef struct {
    Linear query_key_value; /* H -> 3 H; 1 / sqrt(D) is part of the query's scales and bias */
    Linear output;          /* H -> H */
    Norm attention_norm;
    Linear up, down; /* H -> F -> H */
    Norm output_norm;
} Layer;

typedef struct {
    const int8_t *words, *positions;                 /* [vocabulary][H], [max_tokens][H] */
    const float *word_scales, *position_scales;      /* of each row */
    Norm embedding_norm;
    const Layer *layers;
    const float *pooler, *pooler_bias;         /* [H][H], [H] */
    const float *classifier, *classifier_bias; /* [labels][H], [labels] */
    int32_t hidden, inner, heads, num_layers, vocabulary, max_tokens, labels;
    int32_t gelu;  /* index of GELUS */
    int32_t tiles; /* what transformer_tiles said */
    float epsilon; /* of the norms */
} Transformer;

typedef struct { /* token vectors as integers [N][width], and a scale each */
    uint8_t *integers;
    float *scales;
} Tokens;

/* x Phi(x), where up to |x| = limit Phi(x) - 1/2 is x P(2 (x / limit)^2 - 1), P the polynomial of least largest error,
and beyond it Phi is 0 or 1. As exact as float32 (Phi to 9e-8): a coarser one tips more integers over a rounding edge. */
enum { DEGREE = 17 };

typedef struct {
    float limit, p[DEGREE + 1];
} Gelu;

static const Gelu GELUS[] = {
    /* by erf */
    {5.7f,
     {0.12404691427946091f, -0.061964236199855804f, 0.04623286426067352f, -0.037877511233091354f,
      0.031817805022001266f, -0.026473235338926315f, 0.021393336355686188f, -0.016592001542448997f,
      0.011957976035773754f, -0.007856938987970352f, 0.005452255718410015f, -0.004040588159114122f,
      0.0017774241277948022f, -0.00012017756671411917f, 0.0004730296495836228f, -0.0007362733012996614f,
      0.00017916286014951766f, 4.949032518197782e-05f}},
    /* by tanh */
    {5.2f,
     {0.1359599083662033f, -0.06779699772596359f, 0.05015223100781441f, -0.040077440440654755f, 0.031975939869880676f,
      -0.02450576052069664f, 0.017814557999372482f, -0.012015990912914276f, 0.006913918536156416f,
      -0.00429275818169117f, 0.004846223164349794f, -0.0029152112547308207f, -0.002118698786944151f,
      0.0014138976112008095f, 0.0029114484786987305f, -0.0018677075859159231f, -0.0009074207046069205f,
      0.0006637110491283238f}},
};

INLINE __m512 gelu(const Gelu *g, __m512 x)
{
    __m512 y = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-g->limit)), _mm512_set1_ps(g->limit));
    __m512 s = _mm512_fmsub_ps(_mm512_mul_ps(y, y), _mm512_set1_ps(2 / g->limit / g->limit), _mm512_set1_ps(1));
    __m512 sum = _mm512_set1_ps(g->p[DEGREE]);
    UNROLL for (int i = DEGREE - 1; i >= 0; i--) sum = _mm512_fmadd_ps(sum, s, _mm512_set1_ps(g->p[i]));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(y, sum, _mm512_set1_ps(0.5f)));
}

/* e^x for x <= 0, to float32's last bits: 2^n times Taylor's polynomial of the rest, which is at most ln(2) / 2. */
INLINE __m512 exp_negative(__m512 x)
{
    x = _mm512_max_ps(x, _mm512_set1_ps(-87));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
    __m512 rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x); /* ln(2) in two parts, the first one exact */
    rest = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), rest);
    const float p[] = {1, 1, 1 / 2.0f, 1 / 6.0f, 1 / 24.0f, 1 / 120.0f};
    __m512 sum = _mm512_set1_ps(1 / 720.0f);
    UNROLL for (int i = 5; i >= 0; i--) sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(p[i]));
    return _mm512_scalef_ps(sum, n);
}

/* ---- Linear layers ------------------------------------------------------------------------------------------------ */

enum After { STORE, GELU, ADD }; /* what becomes of a product: it is the output, or goes through GELU, or is added */

typedef struct {
    const Linear *linear;
    Tokens x;
    int rows;
    float *out; /* [rows][stride] */
    int stride;
    const Gelu *g;
    float *peaks; /* for GELU: rise to the largest output of each token */
} Product;

/* PANEL columns of one token: integers to float32, and on from there. */
INLINE void finish(const enum After after, const Product *p, int row, int column, const __m512i *sums)
{
    const __m512 x_scale = _mm512_set1_ps(p->x.scales[row]);
    __m512 peak = _mm512_setzero_ps();
    UNROLL for (int j = 0; j < 4; j++) {
        const int at = column + LANES * j;
        __m512 scale = _mm512_mul_ps(x_scale, _mm512_loadu_ps(p->linear->scales + at));
        __m512 y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[j]), scale, _mm512_loadu_ps(p->linear->bias + at));
        float *target = p->out + (size_t)row * p->stride + at;
        if (after == ADD) y = _mm512_add_ps(y, _mm512_loadu_ps(target));
        if (after == GELU) {
            y = gelu(p->g, y);
            peak = _mm512_max_ps(peak, y);
        }
        _mm512_storeu_ps(target, y);
    }
    if (after == GELU) {
        const float most = _mm512_reduce_max_ps(peak);
        p->peaks[row] = most > p->peaks[row] ? most : p->peaks[row];
    }
}

/* PANEL columns of `rows` <= ROWS tokens from `row` on.

The block of rows that is `part` of its panel also asks for that part of the next panel, `lines` for each four inputs:
weights that come from memory would otherwise be waited for by the first block of each panel (an eighth of the time of
25 tokens with the full-size model). Behind the last panel that asks for nothing of use, and harms nothing. */
INLINE void block_by_vnni(const int rows, const enum After after, const Product *p, int row, int column, int part,
                          int lines)
{
    const int inputs = p->linear->inputs;
    const uint8_t *integers = p->x.integers + (size_t)row * inputs;
    const int8_t *weights = p->linear->weights + (size_t)column * inputs;
    const size_t next = lines * part < 4 ? (size_t)inputs * (size_t)(PANEL + 16 * lines * part) : 0; /* 0: this one */
    const uintptr_t ahead = (uintptr_t)weights + next;
    __m512i sums[ROWS][4];
    UNROLL for (int j = 0; j < 4; j++)
        UNROLL for (int i = 0; i < rows; i++) sums[i][j] = _mm512_loadu_si512(p->linear->offsets + column + LANES * j);
    for (int k = 0; k < inputs; k += 4, weights += 4 * PANEL) {
        __m512i w[4];
        _mm_prefetch((const char *)(ahead + 16 * (size_t)(lines * k)), _MM_HINT_T1);
        _mm_prefetch((const char *)(ahead + 16 * (size_t)(lines * k) + 64), _MM_HINT_T1);
        UNROLL for (int j = 0; j < 4; j++) w[j] = _mm512_loadu_si512(weights + 4 * LANES * j);
        UNROLL for (int i = 0; i < rows; i++) {
            int32_t four;
            __builtin_memcpy(&four, integers + (size_t)i * inputs + k, 4);
            __m512i x = _mm512_set1_epi32(four);
            UNROLL for (int j = 0; j < 4; j++) sums[i][j] = _mm512_dpbusd_epi32(sums[i][j], x, w[j]);
        }
    }
    /* Without this GCC 12 moves what follows into the loop, runs out of registers there and is half as fast. */
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < 4; j++) __asm__("" : "+v"(sums[i][j]));
    UNROLL for (int i = 0; i < rows; i++) finish(after, p, row + i, column, sums[i]);
}

INLINE void multiply_by_vnni(const enum After after, const Product *p, int begin, int end)
{
    const int blocks = (p->rows + ROWS - 1) / ROWS; /* of even size: one of a single row would waste most of the CPU */
    const int lines = blocks >= 4 ? 1 : 2;          /* four blocks together ask for the 4 x 64 bytes of a step */
    for (int column = begin; column < end; column += PANEL)
        for (int block = 0, row = 0; block < blocks; block++) {
            const int count = p->rows / blocks + (block < p->rows % blocks);
#define CASE(n) \
    case n: block_by_vnni(n, after, p, row, column, block, lines); break
            switch (count) { CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); }
#undef CASE
            row += count;
        }
}

#if TILES
/* AMX: a tile is 16 rows of 64 bytes, and one instruction multiplies 16 x 64 bytes by 64 x 16. Two tiles of tokens and two
of weights give four of sums, so that each is used twice when it has been loaded: 32 rows x 32 columns. */
enum { TILE_ROWS = 16, TILE_BYTES = 64, LEAST_ROWS = 8 /* with fewer most of a tile would be idle */ };

typedef struct { /* what _tile_loadconfig reads */
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} TileShapes;

/* Tiles 0 to 3 sums, 4 and 5 tokens (upper and lower rows), 6 and 7 weights. */
static void shape_tiles(int upper, int lower)
{
    TileShapes shapes __attribute__((aligned(64))) = {.palette = 1};
    const int rows[8] = {upper, upper, lower, lower, upper, lower, TILE_ROWS, TILE_ROWS};
    for (int i = 0; i < 8; i++) {
        shapes.rows[i] = (uint8_t)(rows[i] ? rows[i] : 1);
        shapes.bytes[i] = TILE_BYTES;
    }
    __asm__ volatile("" : : "r"(&shapes) : "memory"); /* GCC's intrinsic owns to reading eight bytes, not all 64 */
    _tile_loadconfig(&shapes);
}

/* Sums [upper + lower][PANEL] of the panel of weights [inputs / 4][PANEL][4]. */
INLINE void block_by_tiles(const uint8_t *integers, const int8_t *weights, int inputs, int upper, int lower,
                           int32_t *sums)
{
    const uint8_t *lower_integers = integers + (size_t)upper * inputs;
    const size_t row_of_sums = 4 * PANEL;
    __asm__ volatile("" ::: "memory"); /* GCC does not know that the loads below read what was stored before */
    for (int half = 0; half < 2; half++) {
        const int8_t *w = weights + 2 * TILE_BYTES * half;
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int k = 0; k < inputs; k += TILE_BYTES, w += TILE_BYTES * PANEL) {
            _tile_loadd(6, w, 4 * PANEL);
            _tile_loadd(7, w + TILE_BYTES, 4 * PANEL);
            _tile_loadd(4, integers + k, inputs);
            _tile_dpbusd(0, 4, 6);
            _tile_dpbusd(1, 4, 7);
            if (lower) {
                _tile_loadd(5, lower_integers + k, inputs);
                _tile_dpbusd(2, 5, 6);
                _tile_dpbusd(3, 5, 7);
            }
        }
        int32_t *to = sums + 2 * LANES * half;
        _tile_stored(0, to, row_of_sums);
        _tile_stored(1, to + LANES, row_of_sums);
        if (lower) {
            _tile_stored(2, to + (size_t)upper * PANEL, row_of_sums);
            _tile_stored(3, to + (size_t)upper * PANEL + LANES, row_of_sums);
        }
    }
}

INLINE void multiply_by_tiles(const enum After after, const Product *p, int begin, int end)
{
    const int inputs = p->linear->inputs, blocks = (p->rows + 2 * TILE_ROWS - 1) / (2 * TILE_ROWS);
    int32_t sums[2 * TILE_ROWS * PANEL] __attribute__((aligned(64)));
    for (int block = 0, row = 0; block < blocks; block++) {
        const int count = p->rows / blocks + (block < p->rows % blocks);
        const int upper = count > TILE_ROWS ? (count + 1) / 2 : count;
        shape_tiles(upper, count - upper);
        for (int column = begin; column < end; column += PANEL) {
            block_by_tiles(p->x.integers + (size_t)row * inputs, p->linear->weights + (size_t)column * inputs, inputs,
                           upper, count - upper, sums);
            for (int i = 0; i < count; i++) {
                __m512i total[4];
                UNROLL for (int j = 0; j < 4; j++)
                    total[j] = _mm512_add_epi32(_mm512_load_si512(sums + PANEL * i + LANES * j),
                                                _mm512_loadu_si512(p->linear->offsets + column + LANES * j));
                finish(after, p, row + i, column, total);
            }
        }
        row += count;
    }
    _tile_release();
}

/* Whether the CPU has tiles and the system lets us use them, which it wants to be asked for once by each process
(https://docs.kernel.org/arch/x86/xstate.html). */
static int tiles_granted(void)
{
#if defined(EMULATED_TILES)
    return 1;
#else
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18, FEATURES = 7, AMX_TILE_AND_INT8 = 3 << 24 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(FEATURES, 0, &a, &b, &c, &d) || (d & AMX_TILE_AND_INT8) != AMX_TILE_AND_INT8) return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#endif
}

/* Whether there are tiles here, and they give what plain C gives. */
int32_t transformer_tiles(void)
{
    enum { ROWS_TRIED = 27, UPPER = 14, INPUTS = 2 * TILE_BYTES };
    if (!tiles_granted()) return 0;
    uint8_t integers[ROWS_TRIED * INPUTS];
    int8_t weights[INPUTS * PANEL];
    int32_t sums[ROWS_TRIED * PANEL] __attribute__((aligned(64)));
    for (int i = 0; i < ROWS_TRIED * INPUTS; i++) integers[i] = (uint8_t)(i * 167 % 256);
    for (int i = 0; i < INPUTS * PANEL; i++) weights[i] = (int8_t)(i * 41 % 129 - 64);
    shape_tiles(UPPER, ROWS_TRIED - UPPER);
    block_by_tiles(integers, weights, INPUTS, UPPER, ROWS_TRIED - UPPER, sums);
    _tile_release();
    for (int row = 0; row < ROWS_TRIED; row++)
        for (int column = 0; column < PANEL; column++) {
            int32_t expected = 0;
            for (int k = 0; k < INPUTS; k++)
                expected += integers[row * INPUTS + k] * weights[(k / 4 * PANEL + column) * 4 + k % 4];
            if (sums[row * PANEL + column] != expected) return 0;
        }
    return 1;
}
#else
enum { LEAST_ROWS = 0 };
#define multiply_by_tiles multiply_by_vnni
int32_t transformer_tiles(void) { return 0; }
#endif

/* Columns from `begin` to `end`, both multiples of PANEL. */
INLINE void multiply(const Transformer *t, const enum After after, const Product *p, int begin, int end)
{
    if (t->tiles && p->rows >= LEAST_ROWS)
        multiply_by_tiles(after, p, begin, end);
    else
        multiply_by_vnni(after, p, begin, end);
}

static void multiply_store(const Transformer *t, const Linear *linear, int begin, int end, Tokens x, int rows,
                           float *out, int stride)
{
    const Product p = {linear, x, rows, out, stride, 0, 0};
    multiply(t, STORE, &p, begin, end);
}

static void multiply_add(const Transformer *t, const Linear *linear, Tokens x, int rows, float *out)
{
    const Product p = {linear, x, rows, out, linear->outputs, 0, 0};
    multiply(t, ADD, &p, 0, linear->outputs);
}

static void multiply_gelu(const Transformer *t, const Linear *linear, Tokens x, int rows, float *out, float *peaks)
{
    const Product p = {linear, x, rows, out, linear->outputs, GELUS + t->gelu, peaks};
    for (int row = 0; row < rows; row++) peaks[row] = 0;
    multiply(t, GELU, &p, 0, linear->outputs);
}

/* ---- Between them ------------------------------------------------------------------------------------------------- */

INLINE void quantise(const float *x, int width, float scale, int zero, uint8_t *integers)
{
    __m512 divisor = _mm512_set1_ps(scale), inverse = _mm512_set1_ps(scale > 0 ? 1 / scale : 0);
    for (int i = 0; i < width; i += LANES) {
        __m512 value = _mm512_loadu_ps(x + i), share = _mm512_mul_ps(value, inverse);
        /* A step of Newton's makes it what division gives, so that both are rounded to the same integer. */
        share = _mm512_fmadd_ps(_mm512_fnmadd_ps(share, divisor, value), inverse, share);
        __m512i n = _mm512_add_epi32(_mm512_cvtps_epi32(share), _mm512_set1_epi32(zero));
        _mm_storeu_si128((void *)(integers + i), _mm512_cvtusepi32_epi8(_mm512_max_epi32(n, _mm512_setzero_si512())));
    }
}

static void quantise_rows(const float *x, int rows, int width, Tokens to)
{
    for (int row = 0; row < rows; row++, x += width) {
        __m512 peak = _mm512_setzero_ps();
        for (int i = 0; i < width; i += LANES) peak = _mm512_max_ps(peak, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
        to.scales[row] = _mm512_reduce_max_ps(peak) / LEVELS;
        quantise(x, width, to.scales[row], ZERO, to.integers + (size_t)row * width);
    }
}

static void quantise_gelu(const float *x, const float *peaks, int rows, int width, Tokens to)
{
    for (int row = 0; row < rows; row++, x += width) {
        const float scale = peaks[row] / GELU_LEVELS;
        to.scales[row] = scale > GELU_LEAST_SCALE ? scale : GELU_LEAST_SCALE;
        quantise(x, width, to.scales[row], GELU_ZERO, to.integers + (size_t)row * width);
    }
}

/* LayerNorm in place, and the result as integers. */
static void normalise(float *x, int rows, int width, const Norm *norm, float epsilon, Tokens to)
{
    for (int row = 0; row < rows; row++, x += width) {
        __m512 sum = _mm512_setzero_ps(), squares = sum, peak = sum;
        for (int i = 0; i < width; i += LANES) sum = _mm512_add_ps(sum, _mm512_loadu_ps(x + i));
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width);
        for (int i = 0; i < width; i += LANES) {
            __m512 distance = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
            squares = _mm512_fmadd_ps(distance, distance, squares);
        }
        const __m512 variance = _mm512_set1_ps(_mm512_reduce_add_ps(squares) / width + epsilon);
        const __m512 factor = _mm512_div_ps(_mm512_set1_ps(1), _mm512_sqrt_ps(variance));
        for (int i = 0; i < width; i += LANES) {
            __m512 y = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), factor);
            y = _mm512_fmadd_ps(y, _mm512_loadu_ps(norm->weight + i), _mm512_loadu_ps(norm->bias + i));
            peak = _mm512_max_ps(peak, _mm512_abs_ps(y));
            _mm512_storeu_ps(x + i, y);
        }
        to.scales[row] = _mm512_reduce_max_ps(peak) / LEVELS;
        quantise(x, width, to.scales[row], ZERO, to.integers + (size_t)row * width);
    }
}

/* ---- Attention: one text and one head at a time, float32 ---------------------------------------------------------- */

enum { KEYS = 2 * LANES }; /* keys at once; a text's are filled up with zeros to a multiple */

typedef struct { /* one head's keys and values, apart from the other heads' */
    float *keys;   /* [D][padded] */
    float *values; /* [T][D] */
    float *scores; /* [ROWS][padded] */
    int tokens, padded;
} Head;

INLINE void gather_head(const int D, const float *keys, const float *values, int stride, Head head)
{
    for (int token = 0; token < head.tokens; token++, keys += stride, values += stride) {
        for (int d = 0; d < D; d++) head.keys[(size_t)d * head.padded + token] = keys[d];
        for (int d = 0; d < D; d += LANES)
            _mm512_storeu_ps(head.values + (size_t)token * D + d, _mm512_loadu_ps(values + d));
    }
    for (int d = 0; d < D; d++)
        for (int token = head.tokens; token < head.padded; token++) head.keys[(size_t)d * head.padded + token] = 0;
}

/* Scores [padded] -> e^(score - largest), 0 behind the last token; returns one over their sum. */
INLINE float softmax(float *scores, Head head)
{
    __m512 most = _mm512_set1_ps(-__builtin_inff()), sum = _mm512_setzero_ps();
    const __mmask16 rest = (__mmask16)(0xffff >> (LANES - 1 - (head.tokens - 1) % LANES)); /* of the last register */
    for (int i = 0; i < head.tokens; i += LANES) {
        const __mmask16 real = i + LANES > head.tokens ? rest : 0xffff;
        most = _mm512_mask_max_ps(most, real, most, _mm512_loadu_ps(scores + i));
    }
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (int i = 0; i < head.tokens; i += LANES) {
        const __mmask16 real = i + LANES > head.tokens ? rest : 0xffff;
        __m512 share = exp_negative(_mm512_sub_ps(_mm512_loadu_ps(scores + i), most));
        share = _mm512_maskz_mov_ps(real, share);
        sum = _mm512_add_ps(sum, share);
        _mm512_storeu_ps(scores + i, share);
    }
    return 1 / _mm512_reduce_add_ps(sum);
}

/* `rows` <= ROWS queries. */
INLINE void attend_rows(const int rows, const int D, const float *queries, int query_stride, Head head, float *out,
                        int out_stride)
{
    for (int key = 0; key < head.padded; key += KEYS) {
        __m512 sums[ROWS][2];
        UNROLL for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
        for (int d = 0; d < D; d++) {
            const float *k = head.keys + (size_t)d * head.padded + key;
            __m512 low = _mm512_loadu_ps(k), high = _mm512_loadu_ps(k + LANES);
            UNROLL for (int i = 0; i < rows; i++) {
                __m512 q = _mm512_set1_ps(queries[(size_t)i * query_stride + d]);
                sums[i][0] = _mm512_fmadd_ps(q, low, sums[i][0]);
                sums[i][1] = _mm512_fmadd_ps(q, high, sums[i][1]);
            }
        }
        UNROLL for (int i = 0; i < rows; i++) {
            _mm512_storeu_ps(head.scores + (size_t)i * head.padded + key, sums[i][0]);
            _mm512_storeu_ps(head.scores + (size_t)i * head.padded + key + LANES, sums[i][1]);
        }
    }
    float inverse[ROWS];
    for (int i = 0; i < rows; i++) inverse[i] = softmax(head.scores + (size_t)i * head.padded, head);
    __m512 sums[ROWS][4];
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < D / LANES; j++) sums[i][j] = _mm512_setzero_ps();
    for (int token = 0; token < head.tokens; token++) {
        __m512 v[4];
        UNROLL for (int j = 0; j < D / LANES; j++) v[j] = _mm512_loadu_ps(head.values + (size_t)token * D + LANES * j);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512 share = _mm512_set1_ps(head.scores[(size_t)i * head.padded + token]);
            UNROLL for (int j = 0; j < D / LANES; j++) sums[i][j] = _mm512_fmadd_ps(share, v[j], sums[i][j]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++) UNROLL for (int j = 0; j < D / LANES; j++)
        _mm512_storeu_ps(out + (size_t)i * out_stride + LANES * j, _mm512_mul_ps(sums[i][j], _mm512_set1_ps(inverse[i])));
}

/* All heads, D wide each, for num_queries [query_stride] -> out [num_queries][H]; keys and values stand in rows of
`stride`. `scratch` holds a Head. */
INLINE void attend_heads(const int D, const float *queries, int query_stride, int num_queries, const float *keys,
                         const float *values, int stride, int tokens, int hidden, float *scratch, float *out)
{
    Head head = {scratch, 0, 0, tokens, (tokens + KEYS - 1) / KEYS * KEYS};
    head.values = head.keys + (size_t)D * head.padded;
    head.scores = head.values + (size_t)D * head.padded;
    const int blocks = (num_queries + ROWS - 1) / ROWS;
    for (int column = 0; column < hidden; column += D) {
        gather_head(D, keys + column, values + column, stride, head);
        int row = 0;
        for (int block = 0; block < blocks; block++) {
            const int count = num_queries / blocks + (block < num_queries % blocks);
            const float *q = queries + (size_t)row * query_stride + column;
            float *target = out + (size_t)row * hidden + column;
#define CASE(n) \
    case n: attend_rows(n, D, q, query_stride, head, target, hidden); break
            switch (count) { CASE(1); CASE(2); CASE(3); CASE(4); CASE(5); CASE(6); }
#undef CASE
            row += count;
        }
    }
}

static void attend(int D, const float *queries, int query_stride, int num_queries, const float *keys,
                   const float *values, int stride, int tokens, int hidden, float *scratch, float *out)
{
    if (D == 32)
        attend_heads(32, queries, query_stride, num_queries, keys, values, stride, tokens, hidden, scratch, out);
    else
        attend_heads(64, queries, query_stride, num_queries, keys, values, stride, tokens, hidden, scratch, out);
}

/* ---- The whole ---------------------------------------------------------------------------------------------------- */

INLINE __m512 eight_bits(const int8_t *integers)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)integers)));
}

/* Word and position of each token -> x [N][H]. */
static void embed(const Transformer *t, const int32_t *ids, const int32_t *lengths, int texts, float *x)
{
    for (int text = 0; text < texts; ids += lengths[text++])
        for (int token = 0; token < lengths[text]; token++, x += t->hidden) {
            const int8_t *word = t->words + (size_t)ids[token] * t->hidden;
            const int8_t *position = t->positions + (size_t)token * t->hidden;
            const __m512 word_scale = _mm512_set1_ps(t->word_scales[ids[token]]);
            const __m512 position_scale = _mm512_set1_ps(t->position_scales[token]);
            for (int i = 0; i < t->hidden; i += LANES) {
                __m512 y = _mm512_mul_ps(eight_bits(position + i), position_scale);
                _mm512_storeu_ps(x + i, _mm512_fmadd_ps(eight_bits(word + i), word_scale, y));
            }
        }
}

/* weights [outputs][inputs] x + bias, in float32. */
static void dense(const float *weights, const float *bias, int inputs, int outputs, const float *x, float *out)
{
    for (int i = 0; i < outputs; i++, weights += inputs) {
        __m512 sum = _mm512_setzero_ps();
        for (int j = 0; j < inputs; j += LANES)
            sum = _mm512_fmadd_ps(_mm512_loadu_ps(weights + j), _mm512_loadu_ps(x + j), sum);
        out[i] = _mm512_reduce_add_ps(sum) + bias[i];
    }
}

/* Where in the workspace what lies; each part begins at a multiple of 64 bytes, if the workspace does. */
typedef struct {
    float *x;        /* [N][H]: the residual stream */
    float *wide;     /* [N][3 H] query, key and value; then [N][F] between the feed-forward layers */
    float *attended; /* [N][H] */
    Tokens tokens;   /* [N][max(H, F)] */
    float *peaks;    /* [N] */
    float *scratch;  /* a Head */
    char *end;
} Workspace;

static char *take(char **at, size_t bytes)
{
    char *taken = *at;
    *at += (bytes + 63) / 64 * 64;
    return taken;
}

static Workspace divide(const Transformer *t, char *at, size_t tokens, size_t longest)
{
    const size_t H = (size_t)t->hidden, F = (size_t)t->inner, D = H / (size_t)t->heads;
    const size_t padded = (longest + KEYS - 1) / KEYS * KEYS;
    Workspace w;
    w.x = (float *)take(&at, tokens * H * 4);
    w.wide = (float *)take(&at, tokens * (F > 3 * H ? F : 3 * H) * 4);
    w.attended = (float *)take(&at, tokens * H * 4);
    w.tokens.integers = (uint8_t *)take(&at, tokens * (F > H ? F : H));
    w.tokens.scales = (float *)take(&at, tokens * 4);
    w.peaks = (float *)take(&at, tokens * 4);
    w.scratch = (float *)take(&at, (2 * D + ROWS) * padded * 4);
    w.end = at;
    return w;
}

/* Bytes that `transformer_run` needs for so many tokens in all, of which the longest text has `longest`. */
int64_t transformer_workspace(const Transformer *t, int64_t tokens, int64_t longest)
{
    char *const anywhere = (char *)64;
    return divide(t, anywhere, (size_t)tokens, (size_t)longest).end - anywhere;
}

/* ids [N] of texts of these lengths [B] -> logits [B][labels]. Returns 0; or -1, nothing done, if an id or a length is
out of bounds. */
int32_t transformer_run(const Transformer *t, const int32_t *ids, const int32_t *lengths, int32_t texts, char *memory,
                        float *logits)
{
    const int H = t->hidden, F = t->inner, D = H / t->heads;
    int tokens = 0, longest = 0;
    for (int text = 0; text < texts; text++) {
        if (lengths[text] < 1 || lengths[text] > t->max_tokens) return -1;
        longest = lengths[text] > longest ? lengths[text] : longest;
        tokens += lengths[text];
    }
    for (int token = 0; token < tokens; token++)
        if (ids[token] < 0 || ids[token] >= t->vocabulary) return -1;
    const Workspace w = divide(t, memory, (size_t)tokens, (size_t)longest);
    const float *keys = w.wide + H, *values = w.wide + 2 * H;

    embed(t, ids, lengths, texts, w.x);
    normalise(w.x, tokens, H, &t->embedding_norm, t->epsilon, w.tokens);
    int rows = tokens;
    for (const Layer *layer = t->layers; layer < t->layers + t->num_layers; layer++) {
        const size_t stride = 3 * (size_t)H;
        if (layer + 1 < t->layers + t->num_layers) {
            multiply_store(t, &layer->query_key_value, 0, 3 * H, w.tokens, rows, w.wide, 3 * H);
            for (int text = 0, at = 0; text < texts; at += lengths[text++])
                attend(D, w.wide + at * stride, 3 * H, lengths[text], keys + at * stride, values + at * stride, 3 * H,
                       lengths[text], H, w.scratch, w.attended + (size_t)at * H);
        } else { /* the head reads the first token of each text: from here on only keys and values need the others */
            multiply_store(t, &layer->query_key_value, H, 3 * H, w.tokens, tokens, w.wide, 3 * H);
            for (int text = 0, at = 0; text < texts; at += lengths[text++])
                for (int i = 0; i < H; i++) w.x[(size_t)text * H + i] = w.x[(size_t)at * H + i];
            rows = texts;
            quantise_rows(w.x, rows, H, w.tokens);
            multiply_store(t, &layer->query_key_value, 0, H, w.tokens, rows, w.attended, H); /* queries, then replaced */
            for (int text = 0, at = 0; text < texts; at += lengths[text++]) {
                float *row = w.attended + (size_t)text * H;
                attend(D, row, H, 1, keys + at * stride, values + at * stride, 3 * H, lengths[text], H, w.scratch, row);
            }
        }
        quantise_rows(w.attended, rows, H, w.tokens);
        multiply_add(t, &layer->output, w.tokens, rows, w.x);
        normalise(w.x, rows, H, &layer->attention_norm, t->epsilon, w.tokens);
        multiply_gelu(t, &layer->up, w.tokens, rows, w.wide, w.peaks);
        quantise_gelu(w.wide, w.peaks, rows, F, w.tokens);
        multiply_add(t, &layer->down, w.tokens, rows, w.x);
        normalise(w.x, rows, H, &layer->output_norm, t->epsilon, w.tokens);
    }
    for (int text = 0; text < texts; text++) {
        dense(t->pooler, t->pooler_bias, H, H, w.x + (size_t)text * H, w.wide);
        for (int i = 0; i < H; i++) w.wide[i] = w.wide[i] > 0 ? w.wide[i] : 0;
        dense(t->classifier, t->classifier_bias, H, t->labels, w.wide, logits + (size_t)text * t->labels);
    }
    return 0;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
