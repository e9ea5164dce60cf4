/*
 * update_f64_impl.h
 *		update_f64 on vectors of EMB_F64_LANES doubles, as the function
 *		EMB_UPDATE_F64: for a file that defines both.
 *
 * A tile of 4 rows and two vectors stays in registers for all products; the
 * rows of a and b are in the first-level cache.
 */
#define ROWS	EMB_UPDATE_ROWS
#define LANES	EMB_F64_LANES

/* At any address. */
typedef double Doubles __attribute__((vector_size(8 * LANES), aligned(8)));

EMB_ALWAYS_INLINE Doubles
load(const double *p)
{
	return *(const Doubles *) p;
}

static void
update_tile(const double *a, const double *b, double *c, size_t stride)
{
	Doubles		acc[ROWS][2];

	EMB_UNROLL
	for (int r = 0; r < ROWS; r++)
	{
		acc[r][0] = load(c + r * stride);
		acc[r][1] = load(c + r * stride + LANES);
	}
	for (int32_t i = 0; i < EMB_UPDATE_SQUARE; i++, a += EMB_UPDATE_SQUARE, b += EMB_UPDATE_SQUARE)
	{
		Doubles		x = load(b);
		Doubles		y = load(b + LANES);

		EMB_UNROLL
		for (int r = 0; r < ROWS; r++)
		{
			acc[r][0] -= a[r] * x;
			acc[r][1] -= a[r] * y;
		}
	}
	EMB_UNROLL
	for (int r = 0; r < ROWS; r++)
	{
		*(Doubles *) (c + r * stride) = acc[r][0];
		*(Doubles *) (c + r * stride + LANES) = acc[r][1];
	}
}

void
EMB_UPDATE_F64 (const double *a, const double *b, int32_t n_rows, int32_t n_panels, double *c, size_t stride)
{
	for (int32_t i = 0; i < n_rows; i += ROWS)
	{
		for (int32_t k = 0; k < n_panels * EMB_PANEL; k += 2 * LANES)
			update_tile(a + i, b + k, c + i * stride + k, stride);
	}
}
