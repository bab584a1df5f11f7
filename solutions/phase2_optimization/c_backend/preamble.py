"""The top of every generated file: vectors of floats and the functions on them, in plain C.

GCC and Clang turn arithmetic on ``vector_size`` types into whatever the processor has, so that no
intrinsics are needed but for one: neither finds the processor's own maximum. e^-x is 2^n e^r,
|r| <= ln 2 / 2: a polynomial in r, scaled by 2^n through the exponent's bits (Cephes, expf;
relative error below 3e-7). ``erf`` is formula 7.1.26 of Abramowitz and Stegun (absolute
error below 1.5e-7).
"""

HEAD = """\
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE__
#include <immintrin.h>
#endif
"""

VECTOR = """
/* {n} floats at once */
typedef float v{n} __attribute__((vector_size({bytes}), aligned(4), may_alias));
typedef int32_t i{n} __attribute__((vector_size({bytes})));

static inline v{n} load{n}(const float *from) {{ return *(const v{n} *)from; }}
static inline void store{n}(float *to, v{n} v) {{ *(v{n} *)to = v; }}
static inline v{n} splat{n}(float a) {{ return (v{n}){{0}} + a; }}
static inline v{n} select{n}(i{n} mask, v{n} a, v{n} b)
{{
    return (v{n})((mask & (i{n})a) | (~mask & (i{n})b));
}}
/* a NaN in b stays one, as Relu and Clip want it */
#ifdef {macro}
static inline v{n} max{n}(v{n} a, v{n} b)
{{
    return (v{n}){prefix}_max_ps(({type})a, ({type})b);
}}
static inline v{n} min{n}(v{n} a, v{n} b)
{{
    return (v{n}){prefix}_min_ps(({type})a, ({type})b);
}}
#else
static inline v{n} max{n}(v{n} a, v{n} b) {{ return select{n}(a > b, a, b); }}
static inline v{n} min{n}(v{n} a, v{n} b) {{ return select{n}(a < b, a, b); }}
#endif
static inline v{n} abs{n}(v{n} v) {{ return (v{n})((i{n})v & 0x7fffffff); }}
static inline v{n} sqrt{n}(v{n} v)
{{
    for (int i = 0; i < {n}; i++)
        v[i] = sqrtf(v[i]);
    return v;
}}
static inline v{n} vlog{n}(v{n} v)
{{
    for (int i = 0; i < {n}; i++)
        v[i] = logf(v[i]);
    return v;
}}
static inline v{n} exp_minus{n}(v{n} v)
{{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    v = min{n}(splat{n}(87.33f), max{n}(splat{n}(-88.37f), v));
    const v{n} shifted = v * -1.44269504f + magic;
    const v{n} whole = shifted - magic;
    const v{n} r = whole * -0.693359375f - v + whole * 2.12194440e-4f; /* ln 2 in two parts */
    v{n} p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (v{n})((i{n})p + ((i{n})shifted << 23));
}}
static inline v{n} vexp{n}(v{n} v) {{ return exp_minus{n}(-v); }}
static inline v{n} exponential{n}(v{n} v)
{{
    const v{n} root = vexp{n}(0.5f * v); /* vexp ends before the largest float */
    return root * root;
}}
static inline v{n} sigmoid{n}(v{n} v) {{ return 1.0f / (1.0f + exp_minus{n}(v)); }}
static inline v{n} silu{n}(v{n} v) {{ return v / (1.0f + exp_minus{n}(v)); }}
static inline v{n} tanh{n}(v{n} v)
{{
    const v{n} square = v * v; /* near 0 the fraction below would lose digits */
    const v{n} small = v - v * square * (0.333333333f - square * 0.133333333f);
    const v{n} large = 1.0f - 2.0f / (1.0f + vexp{n}(2.0f * v));
    return select{n}(square < 0.0025f, small, large);
}}
static inline v{n} erf{n}(v{n} v)
{{
    const v{n} a = abs{n}(v);
    const v{n} t = 1.0f / (1.0f + 0.3275911f * a);
    v{n} p = t * 1.061405429f - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const v{n} found = 1.0f - p * t * exp_minus{n}(a * a);
    return select{n}(v < 0.0f, -found, found);
}}
static inline v{n} gelu{n}(v{n} v) {{ return 0.5f * v * (1.0f + erf{n}(v * 0.707106781f)); }}
static inline v{n} softplus{n}(v{n} v)
{{
    v{n} small = exp_minus{n}(abs{n}(v));
    for (int i = 0; i < {n}; i++)
        small[i] = log1pf(small[i]);
    return max{n}(splat{n}(0.0f), v) + small;
}}
static inline v{n} leaky_relu{n}(v{n} v, float slope)
{{
    return select{n}(v < 0.0f, v * slope, v);
}}
static inline v{n} elu{n}(v{n} v, float alpha)
{{
    return select{n}(v < 0.0f, alpha * (vexp{n}(v) - 1.0f), v);
}}
static inline v{n} hard_sigmoid{n}(v{n} v, float alpha, float beta)
{{
    return min{n}(splat{n}(1.0f), max{n}(splat{n}(0.0f), v * alpha + beta));
}}
static inline v{n} hard_swish{n}(v{n} v) {{ return v * hard_sigmoid{n}(v, 1.0f / 6.0f, 0.5f); }}
"""

MAXIMA = {  # where it is known, the start of its name, the vector's type
    16: ("__AVX512F__", "_mm512", "__m512"),
    8: ("__AVX__", "_mm256", "__m256"),
    4: ("__SSE__", "_mm", "__m128"),
}


def preamble(lanes: int) -> str:
    """Types and functions for vectors of ``lanes`` floats and of half as many."""
    parts = []
    for n in (lanes, lanes // 2):
        macro, prefix, kind = MAXIMA.get(n, ("NO_SUCH_VECTORS", "", ""))
        parts.append(VECTOR.format(n=n, bytes=4 * n, macro=macro, prefix=prefix, type=kind))
    return HEAD + "".join(parts)
