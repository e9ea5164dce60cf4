/*
 * gemm_i8_neon.h
 *		Shared by the two int8 products of NEON, for a target region: the loop
 *		over tiles and the steps after a tile's sums.
 *
 * Blocks of panels are outermost, as many as fit a second-level cache; then
 * tiles of up to 6 rows of A, copied once in the order in which the tile reads
 * them; then the panels of the block. Four q registers are one row of one
 * panel: 6 rows take 24 of the 32 registers for sums.
 */
#define ROWS_MAX 6

/* Groups of A copied at a time, 8 slots of 4 bytes each: half a first-level cache. */
#define BLOCK_GROUPS 512
#define ROW_SLOTS 8

/* Bytes of B that all rows pass before the next bytes are read. */
#define BLOCK_BYTES (192 * 1024)
#define BLOCK_PANELS 64

/*
 * Multiplies n_groups of a tile's rows, from its copy, with one panel. C holds
 * int32 sums between blocks of K: first starts them, last converts them to the
 * result.
 */
typedef void (*TileFn) (const EmbTileI8 *t, const uint32_t *rows, bool first, bool last);

/* tile_1 .. tile_6 of a level: body with a constant number of rows. */
#define NEON_TILE(body, rows) \
static void \
tile_##rows(const EmbTileI8 *t, const uint32_t *copy, bool first, bool last) \
{ \
	body(t, copy, first, last, rows); \
}
#define NEON_TILES(body) \
	NEON_TILE(body, 1) NEON_TILE(body, 2) NEON_TILE(body, 3) \
	NEON_TILE(body, 4) NEON_TILE(body, 5) NEON_TILE(body, 6)
#define NEON_TILE_NAMES {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6}

typedef struct NeonLevel
{
	void		(*copy_rows) (const EmbTileI8 *t, int32_t n_rows, uint32_t *rows);
	TileFn		tiles[ROWS_MAX];	/* by n_rows - 1 */
	void		(*sum_panel) (const int8_t *b, int32_t n_groups, int32_t *sums);
} NeonLevel;

EMB_ALWAYS_INLINE int32x4_t
start_neon(const EmbTileI8 *t, int r, int h, bool first)
{
	return first ? vdupq_n_s32(0) : vreinterpretq_s32_f32(vld1q_f32(t->c + r * t->c_stride + h * 4));
}

/* Row r, columns 4 h .. 4 h + 3 of the panel; sums are of (A - offset) B. */
EMB_ALWAYS_INLINE void
finish_neon(const EmbTileI8 *t, int r, int h, int32x4_t sum_i32x4, const int offset, bool last)
{
	float	   *c = t->c + r * t->c_stride + h * 4;
	float32x4_t factor,
				y;

	if (!last)
	{
		vst1q_f32(c, vreinterpretq_f32_s32(sum_i32x4));
		return;
	}
	if (t->b_sums != NULL)
	{
		int32_t		times = offset - (t->a_zero != NULL ? t->a_zero[r] : 0);

		sum_i32x4 = vmlaq_s32(sum_i32x4, vld1q_s32(t->b_sums + h * 4), vdupq_n_s32(times));
	}
	factor = vmulq_f32(vdupq_n_f32(t->a_scale[r]), vld1q_f32(t->b_scale + h * 4));
	y = vcvtq_f32_s32(sum_i32x4);
	y = t->bias != NULL ? vfmaq_f32(vld1q_f32(t->bias + h * 4), y, factor) : vmulq_f32(y, factor);
	vst1q_f32(c, y);
}

/* A tile of rows by all panels of a block. */
static void
block_neon(const EmbGemmI8 *g, const NeonLevel *level, EmbTileI8 t, int32_t n_rows, int32_t n_panels)
{
	uint32_t	rows[BLOCK_GROUPS * ROW_SLOTS];
	EmbTileI8	product = t;

	/* C holds all panels until they are gated */
	product.gated = false;
	product.factor = NULL;
	for (int32_t k0 = 0; k0 < g->n_groups; k0 += BLOCK_GROUPS)
	{
		EmbTileI8	part = product;

		part.n_groups = g->n_groups - k0 < BLOCK_GROUPS ? g->n_groups - k0 : BLOCK_GROUPS;
		part.a += (size_t) k0 * EMB_GROUP;
		part.b += (size_t) k0 * EMB_PANEL * EMB_GROUP;
		level->copy_rows(&part, n_rows, rows);
		for (int32_t p = 0; p < n_panels; p++)
		{
			level->tiles[n_rows - 1] (&part, rows, k0 == 0, k0 + part.n_groups == g->n_groups);
			emb_gemm_i8_next_panels(&part, 1);
		}
	}
	if (!g->gated)
		emb_gemm_i8_activate(&t, emb_activate_rows_neon, n_rows, n_panels);
	else
		emb_gate_rows_neon(t.act, t.c, t.c_stride, n_rows, n_panels / 2, t.factor, t.range, t.c, t.c_stride);
}

/* b_sums are read only with a_zero; a level that always needs them computes them itself. */
static void
walk_neon(const EmbGemmI8 *g, const NeonLevel *level)
{
	EmbTileI8	group = emb_gemm_i8_first_tile(g);
	int32_t		n_tiles = (g->n_rows - 1) / ROWS_MAX + 1;
	int32_t		panels_max = (int32_t) (BLOCK_BYTES / group.b_stride) + 1;
	int32_t		sums[BLOCK_PANELS * EMB_PANEL];

	panels_max = panels_max < BLOCK_PANELS ? panels_max : BLOCK_PANELS;
	for (int32_t p = 0; p < g->n_panels; p += panels_max)
	{
		int32_t		n_panels = g->n_panels - p < panels_max ? g->n_panels - p : panels_max;
		EmbTileI8	t = group;

		if (g->a_zero == NULL)
			t.b_sums = level->sum_panel != NULL ? sums : NULL;
		for (int32_t i = 0; t.b_sums == sums && i < n_panels; i++)
			level->sum_panel(group.b + i * group.b_stride, g->n_groups, sums + i * EMB_PANEL);
		for (int32_t i = 0; i < n_tiles; i++)
		{
			int32_t		n_rows = emb_gemm_tile_rows(g->n_rows, n_tiles, i);

			block_neon(g, level, t, n_rows, n_panels);
			emb_gemm_i8_next_rows(&t, n_rows);
		}
		emb_gemm_i8_next_panels(&group, n_panels);
	}
}
