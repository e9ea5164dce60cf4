/*
 * test_kernels.c
 *		Every kernel of kernels.def, on every level this CPU has, against scalar:
 *		equal bits at all sizes and alignments, nothing touched beyond the end.
 */
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "unit.h"

#include "kernels/kernels.h"

static uint32_t seed = 20240607;

static uint32_t
next_random(void)
{
	seed = seed * 1664525u + 1013904223u;
	return seed >> 8;
}

/* A page that must not be touched lies right behind the last float. */
typedef struct Guarded
{
	char	   *map;
	size_t		map_size;
	float	   *x;
	size_t		n;
} Guarded;

static Guarded
guarded(size_t n)
{
	size_t		page = (size_t) sysconf(_SC_PAGESIZE);
	size_t		size = (n * sizeof(float) + page - 1) / page * page;
	Guarded		g = {.map_size = size + page, .n = n};

	g.map = mmap(NULL, g.map_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g.map == MAP_FAILED || mprotect(g.map + size, page, PROT_NONE) != 0)
	{
		printf("Bail out! mmap\n");
		exit(2);
	}
	g.x = (float *) (g.map + size) - n;
	return g;
}

static void
unguard(Guarded g)
{
	munmap(g.map, g.map_size);
}

/* Mostly values of a network's size, some zeros, denormals and outliers. */
static float
random_value(void)
{
	float		x = (float) ((int32_t) next_random() - (1 << 23)) * 0x1p-21f;

	switch (next_random() % 64)
	{
		case 0:
			return 0.0f;
		case 1:
			return -0.0f;
		case 2:
			return x * 1e-40f;
		case 3:
			return x * 1e4f;
		default:
			return x;
	}
}

static Guarded
random_floats(size_t n)
{
	Guarded		g = guarded(n);

	for (size_t i = 0; i < n; i++)
		g.x[i] = random_value();
	return g;
}

static Guarded
copy_of(Guarded from)
{
	Guarded		g = guarded(from.n);

	memcpy(g.x, from.x, from.n * sizeof(float));
	return g;
}

static bool
same_bits(Guarded a, Guarded b)
{
	return memcmp(a.x, b.x, a.n * sizeof(float)) == 0;
}

/* 1, tile - 1, tile, tile + 1, 3 tile + 5 for tiles of 8, 16, 32, and larger */
static const int32_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 29, 31, 32, 33, 36, 48, 53, 101, 384, 389, 1536};
#define N_LENGTHS ((int) (sizeof(lengths) / sizeof(lengths[0])))

static bool
gemm_case(const EmbKernels *k, const EmbKernels *scalar, int32_t m, int32_t n_panels, int32_t n_in, bool with_bias)
{
	size_t		a_stride = n_in + next_random() % 3;
	size_t		c_stride = n_panels * EMB_PANEL + next_random() % 3;
	Guarded		a = random_floats((m - 1) * a_stride + n_in);
	Guarded		b = random_floats((size_t) n_panels * EMB_PANEL * n_in);
	Guarded		bias = random_floats((size_t) n_panels * EMB_PANEL);
	Guarded		mine = random_floats((m - 1) * c_stride + n_panels * EMB_PANEL);
	Guarded		theirs = copy_of(mine);
	EmbGemmF32	g = {
		.n_rows = m, .n_in = n_in, .n_panels = n_panels, .a = a.x, .a_stride = a_stride, .b = b.x,
		.bias = with_bias ? bias.x : NULL, .c = mine.x, .c_stride = c_stride
	};
	bool		same;

	k->gemm_f32(&g);
	g.c = theirs.x;
	scalar->gemm_f32(&g);
	same = same_bits(mine, theirs);
	unguard(a);
	unguard(b);
	unguard(bias);
	unguard(mine);
	unguard(theirs);
	return same;
}

static void
test_gemm_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	static const int32_t rows[] = {1, 2, 3, 5, 6, 7, 11, 12, 13, 23};
	static const int32_t panels[] = {1, 2, 3, 4, 5, 7};
	static const int32_t short_k[] = {1, 15, 16, 17, 53};
	static const int32_t long_k[] = {383, 384, 385, 769, 1157};
	int			n_cases = 0,
				n_same = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t j = 0; j < sizeof(panels) / sizeof(panels[0]); j++)
		{
			for (size_t l = 0; l < sizeof(short_k) / sizeof(short_k[0]); l++, n_cases++)
				n_same += gemm_case(k, scalar, rows[i], panels[j], short_k[l], (n_cases & 1) != 0);
			n_same += gemm_case(k, scalar, rows[i], panels[j], long_k[n_cases % 5], (n_cases & 2) != 0);
			n_cases++;
		}
	CHECKF(n_same == n_cases, "gemm_f32 on %s: %d of %d equal", k->name, n_same, n_cases);
}

static void
test_transpose_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		int			n_same = 0;

		for (int32_t n_rows = 1; n_rows <= EMB_PANEL; n_rows++)
		{
			int32_t		n = lengths[i];
			size_t		stride = n + n_rows % 3;
			Guarded		rows = random_floats((n_rows - 1) * stride + n);
			Guarded		mine = random_floats((size_t) n * EMB_PANEL);
			Guarded		theirs = random_floats((size_t) n * EMB_PANEL);

			k->transpose_f32(rows.x, stride, n_rows, n, mine.x);
			scalar->transpose_f32(rows.x, stride, n_rows, n, theirs.x);
			n_same += same_bits(mine, theirs) && theirs.x[n_rows - 1] == rows.x[(n_rows - 1) * stride];
			unguard(rows);
			unguard(mine);
			unguard(theirs);
		}
		CHECKF(n_same == EMB_PANEL, "transpose_f32 on %s, length %d", k->name, (int) lengths[i]);
	}
}

static void
test_add_norm_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < 2 * N_LENGTHS; i++)
	{
		int32_t		n = lengths[i / 2];
		Guarded		x = random_floats(n),
					residual = random_floats(n),
					gamma = random_floats(n),
					beta = random_floats(n),
					mine = copy_of(residual),
					theirs = random_floats(n);

		/* in place over the residual, or without one */
		if (i % 2 == 0)
			k->add_norm_f32(x.x, mine.x, gamma.x, beta.x, 1e-12f, n, mine.x);
		else
			k->add_norm_f32(x.x, NULL, gamma.x, beta.x, 1e-12f, n, mine.x);
		scalar->add_norm_f32(x.x, i % 2 == 0 ? residual.x : NULL, gamma.x, beta.x, 1e-12f, n, theirs.x);
		CHECKF(same_bits(mine, theirs), "add_norm_f32 on %s, length %d", k->name, (int) n);
		unguard(x);
		unguard(residual);
		unguard(gamma);
		unguard(beta);
		unguard(mine);
		unguard(theirs);
	}
}

static void
test_rms_norm_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < 2 * N_LENGTHS; i++)
	{
		int32_t		n = lengths[i / 2];
		bool		in_place = i % 2 == 0;
		Guarded		x = random_floats(n),
					gamma = random_floats(n),
					mine = in_place ? copy_of(x) : random_floats(n),
					theirs = random_floats(n);

		k->rms_norm_f32(in_place ? mine.x : x.x, gamma.x, 1e-6f, n, mine.x);
		scalar->rms_norm_f32(x.x, gamma.x, 1e-6f, n, theirs.x);
		CHECKF(same_bits(mine, theirs), "rms_norm_f32 on %s, length %d", k->name, (int) n);
		unguard(x);
		unguard(gamma);
		unguard(mine);
		unguard(theirs);
	}
}

static void
test_softmax_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		mine = random_floats(lengths[i]),
					theirs = copy_of(mine);
		float		sum = k->softmax_f32(mine.x, lengths[i], 0.177f);
		float		scalar_sum = scalar->softmax_f32(theirs.x, lengths[i], 0.177f);

		CHECKF(same_bits(mine, theirs) && memcmp(&sum, &scalar_sum, sizeof(sum)) == 0 && sum >= 1,
			   "softmax_f32 on %s, length %d", k->name, (int) lengths[i]);
		unguard(mine);
		unguard(theirs);
	}
}

static void
test_in_place(const char *name, const char *level, void (*f) (float *, int32_t), void (*g) (float *, int32_t))
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		mine = random_floats(lengths[i]),
					theirs = copy_of(mine);

		f(mine.x, lengths[i]);
		g(theirs.x, lengths[i]);
		CHECKF(same_bits(mine, theirs), "%s on %s, length %d", name, level, (int) lengths[i]);
		unguard(mine);
		unguard(theirs);
	}
}

/* All exponents, both signs: every 4,099th float. */
static void
test_all_exponents(const char *name, const char *level, void (*f) (float *, int32_t), void (*g) (float *, int32_t))
{
	enum {N = 4096};
	float		mine[N],
				theirs[N];
	uint32_t	bits = 0;
	bool		same = true;
	int			n_checked = 0;

	for (int round = 0; round < 1 + (int) (UINT32_MAX / 4099 / N); round++)
	{
		for (int i = 0; i < N; i++, bits += 4099)
		{
			uint32_t	finite = (bits & 0x7F800000) == 0x7F800000 ? bits & 0x807FFFFF : bits;

			memcpy(&mine[i], &finite, sizeof(finite));
		}
		memcpy(theirs, mine, sizeof(mine));
		f(mine, N);
		g(theirs, N);
		same = same && memcmp(mine, theirs, sizeof(mine)) == 0;
		for (int i = 0; i < N; i++, n_checked++)
			same = same && mine[i] - mine[i] == 0;	/* finite */
	}
	CHECKF(same, "%s on %s: differs or not finite among %d floats", name, level, n_checked);
}

static void
test_gelu_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	test_in_place("gelu_f32", k->name, k->gelu_f32, scalar->gelu_f32);
	test_all_exponents("gelu_f32", k->name, k->gelu_f32, scalar->gelu_f32);
}

static void
test_gelu_tanh_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	test_in_place("gelu_tanh_f32", k->name, k->gelu_tanh_f32, scalar->gelu_tanh_f32);
	test_all_exponents("gelu_tanh_f32", k->name, k->gelu_tanh_f32, scalar->gelu_tanh_f32);
}

static void
test_silu_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	test_in_place("silu_f32", k->name, k->silu_f32, scalar->silu_f32);
	test_all_exponents("silu_f32", k->name, k->silu_f32, scalar->silu_f32);
}

static void
test_tanh_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	test_in_place("tanh_f32", k->name, k->tanh_f32, scalar->tanh_f32);
	test_all_exponents("tanh_f32", k->name, k->tanh_f32, scalar->tanh_f32);
}

static void
test_relu_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	test_in_place("relu_f32", k->name, k->relu_f32, scalar->relu_f32);
	test_all_exponents("relu_f32", k->name, k->relu_f32, scalar->relu_f32);
}

static void
test_max_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		x = random_floats(lengths[i]),
					mine = random_floats(lengths[i]),
					theirs = copy_of(mine),
					before = copy_of(mine);
		bool		larger = true;

		x.x[lengths[i] / 2] = NAN;
		k->max_f32(mine.x, x.x, lengths[i]);
		scalar->max_f32(theirs.x, x.x, lengths[i]);
		CHECKF(same_bits(mine, theirs), "max_f32 on %s, length %d", k->name, (int) lengths[i]);
		for (int n = 0; n < lengths[i]; n++)
			larger &= mine.x[n] == (x.x[n] > before.x[n] ? x.x[n] : before.x[n]);
		CHECKF(larger, "max_f32 on %s is the larger of two, length %d", k->name, (int) lengths[i]);
		unguard(x);
		unguard(mine);
		unguard(theirs);
		unguard(before);
	}
}

static void
test_add_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		x = random_floats(lengths[i]),
					mine = random_floats(lengths[i]),
					theirs = copy_of(mine);

		k->add_f32(mine.x, x.x, lengths[i]);
		scalar->add_f32(theirs.x, x.x, lengths[i]);
		CHECKF(same_bits(mine, theirs), "add_f32 on %s, length %d", k->name, (int) lengths[i]);
		unguard(x);
		unguard(mine);
		unguard(theirs);
	}
}

static void
test_div_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		mine = random_floats(lengths[i]),
					theirs = copy_of(mine);

		k->div_f32(mine.x, lengths[i], 0.7f);
		scalar->div_f32(theirs.x, lengths[i], 0.7f);
		CHECKF(same_bits(mine, theirs), "div_f32 on %s, length %d", k->name, (int) lengths[i]);
		unguard(mine);
		unguard(theirs);
	}
}

static void
test_dot_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		x = random_floats(lengths[i]),
					y = random_floats(lengths[i]);
		float		mine = k->dot_f32(x.x, y.x, lengths[i]);
		float		theirs = scalar->dot_f32(x.x, y.x, lengths[i]);

		CHECKF(memcmp(&mine, &theirs, sizeof(mine)) == 0, "dot_f32 on %s, length %d", k->name, (int) lengths[i]);
		unguard(x);
		unguard(y);
	}
}

static void
test_muladd_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	for (int i = 0; i < N_LENGTHS; i++)
	{
		Guarded		x = random_floats(lengths[i]),
					mine = random_floats(lengths[i]),
					theirs = copy_of(mine);

		k->muladd_f32(mine.x, x.x, lengths[i], 1.3f);
		scalar->muladd_f32(theirs.x, x.x, lengths[i], 1.3f);
		CHECKF(same_bits(mine, theirs), "muladd_f32 on %s, length %d", k->name, (int) lengths[i]);
		unguard(x);
		unguard(mine);
		unguard(theirs);
	}
}

/* n doubles: floats times a factor that no float is. */
static Guarded
random_doubles(size_t n)
{
	Guarded		g = guarded(2 * n);

	for (size_t i = 0; i < n; i++)
		((double *) g.x)[i] = random_value() / 3.0;
	return g;
}

/* Against the formula, too; rows of c are 3 doubles longer than what may be written. */
static void
test_update_f64(const EmbKernels *k, const EmbKernels *scalar)
{
	enum {S = EMB_UPDATE_SQUARE};

	for (int n_rows = EMB_UPDATE_ROWS; n_rows <= S; n_rows += 3 * EMB_UPDATE_ROWS)
	{
		for (int n_panels = 1; n_panels <= S / EMB_PANEL; n_panels++)
		{
			size_t		stride = n_panels * EMB_PANEL + 3;
			Guarded		a = random_doubles(S * S),
						b = random_doubles(S * S),
						before = random_doubles(n_rows * stride),
						mine = copy_of(before),
						theirs = copy_of(before);
			int			n_wrong = 0;

			k->update_f64((double *) a.x, (double *) b.x, n_rows, n_panels, (double *) mine.x, stride);
			scalar->update_f64((double *) a.x, (double *) b.x, n_rows, n_panels, (double *) theirs.x, stride);
			CHECKF(same_bits(mine, theirs), "update_f64 on %s, %d rows, %d panels", k->name, n_rows, n_panels);
			for (size_t i = 0; i < n_rows * stride; i++)
			{
				double		c = ((double *) before.x)[i];

				for (int m = 0; m < S && i % stride < stride - 3; m++)
					c -= ((double *) a.x)[m * S + i / stride] * ((double *) b.x)[m * S + i % stride];
				n_wrong += c != ((double *) mine.x)[i];
			}
			CHECKF(n_wrong == 0, "update_f64 on %s: %d elements", k->name, n_wrong);
			unguard(a);
			unguard(b);
			unguard(before);
			unguard(mine);
			unguard(theirs);
		}
	}
}

/* Against the formula, too: all levels share the loop. */
static void
test_rotate_f32(const EmbKernels *k, const EmbKernels *scalar)
{
	enum {HEADS = 3};

	for (int n = 0; n < N_LENGTHS && lengths[n] <= 101; n++)
	{
		int32_t		h = lengths[n];
		Guarded		angles = random_floats(2 * h),
					before = random_floats(HEADS * 2 * h),
					mine = copy_of(before),
					theirs = copy_of(before);
		int			n_wrong = 0;

		k->rotate_f32(angles.x, HEADS, 2 * h, mine.x);
		scalar->rotate_f32(angles.x, HEADS, 2 * h, theirs.x);
		CHECKF(same_bits(mine, theirs), "rotate_f32 on %s, half a head of %d", k->name, (int) h);
		for (int i = 0; i < HEADS * h; i++)
		{
			int			at = i / h * 2 * h + i % h;
			float		left[2] = {before.x[at] * angles.x[i % h], before.x[at + h] * angles.x[h + i % h]};
			float		right[2] = {before.x[at + h] * angles.x[i % h], before.x[at] * angles.x[h + i % h]};

			n_wrong += mine.x[at] != left[0] - left[1] || mine.x[at + h] != right[0] + right[1];
		}
		CHECKF(n_wrong == 0, "rotate_f32 on %s: %d pairs", k->name, n_wrong);
		unguard(angles);
		unguard(before);
		unguard(mine);
		unguard(theirs);
	}
}

/* test_kernels_i8.c and test_kernels_grouped.c have these. */
#define test_gemm_i8(k, scalar)
#define test_gemm_grouped(k, scalar)
#define test_activate_rows(k, scalar)
#define test_gate_rows(k, scalar)
#define test_quantize_u8(k, scalar)
#define test_quantize_rows(k, scalar)
#define test_norm_rows(k, scalar)

/* test_attend.c has these. */
#define test_quantize_heads(k, scalar)
#define test_pack_head_i8(k, scalar)
#define test_attend_i8(k, scalar)

/* An operation without a test does not link. */
static void
test_level(const EmbKernels *k, const EmbKernels *scalar)
{
	uint32_t	seed_before = seed;

	printf("# level %s, seed %u\n", k->name, (unsigned) seed_before);
#define EMB_OP(op, result, arguments) test_##op(k, scalar);
#include "kernels/kernels.def"
}

static void
test_selection(void)
{
	EmbError	err;

	CHECK(emb_kernels_is_known("auto") && emb_kernels_is_available("auto"));
	CHECK(emb_kernels_is_known("neon") && emb_kernels_is_known("amx") && emb_kernels_is_available("scalar"));
	CHECK(!emb_kernels_is_known("sse9") && !emb_kernels_is_available("sse9") && !emb_kernels_is_known(""));
	CHECK(emb_kernels_select("scalar", &err) == EMB_OK && strcmp(emb_kernels_name(), "scalar") == 0);
	CHECK(emb_kernels_select("sse9", &err) == EMB_ERR_INVALID_ARGUMENT && strstr(err.message, "sse9") != NULL);
	CHECK(strcmp(emb_kernels_name(), "scalar") == 0);
	CHECK(emb_kernels_select("auto", &err) == EMB_OK);
}

int
main(void)
{
	static const char *const names[] = {"avx2", "avxvnni", "avx512vnni", "amx", "neon"};
	const EmbKernels *scalar;
	EmbFpState	fp = emb_fp_enter();

	test_selection();
	emb_kernels_select("scalar", NULL);
	scalar = emb_kernels();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		char		why[100];

		if (emb_kernels_select(names[i], NULL) == EMB_OK)
			test_level(emb_kernels(), scalar);
		else
		{
			snprintf(why, sizeof(why), "level %s is not available here", names[i]);
			skip(why);
		}
	}
	emb_fp_leave(fp);
	return done_testing();
}
