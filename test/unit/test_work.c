/*
 * test_work.c
 *		How products are cut into pieces: all of the result once, no piece much
 *		larger than a level allows, and weights read once where that is possible.
 */
#include <string.h>
#include <sys/mman.h>

#include "unit.h"

#include "transformer/work.h"

#define MAX_ROWS	128
#define MAX_PANELS	2048

/* Addresses for all elements, which nobody reads. */
#define NOTHING_BYTES	((size_t) 8 << 30)
static void *nothing;

/* What the recording kernels saw; nothing is computed. */
static struct
{
	const float *c;
	size_t		c_stride;
	uint8_t		seen[MAX_ROWS][MAX_PANELS];
	int64_t		largest;		/* multiply-adds of a piece */
	int32_t		least_rows;
} record;

static void
note_piece(const float *c, int32_t n_rows, int32_t n_panels, int32_t n_in)
{
	size_t		at = c - record.c;
	int64_t		macs = (int64_t) n_rows * n_panels * EMB_PANEL * n_in;

	for (int32_t m = 0; m < n_rows; m++)
		for (int32_t p = 0; p < n_panels; p++)
			record.seen[at / record.c_stride + m][at % record.c_stride / EMB_PANEL + p]++;
	record.largest = macs > record.largest ? macs : record.largest;
	record.least_rows = n_rows < record.least_rows ? n_rows : record.least_rows;
}

static void
record_f32(const EmbGemmF32 *g)
{
	note_piece(g->c, g->n_rows, g->n_panels, g->n_in);
}

static void
record_i8(const EmbGemmI8 *g)
{
	note_piece(g->c, g->n_rows, g->n_panels, g->n_groups * EMB_GROUP);
}

static void
check_pieces(int32_t n_rows, int32_t n_in, int32_t n_panels, int64_t macs_per_piece, bool is_i8, bool want_all_rows)
{
	EmbKernels	kernels = {.macs_per_piece = macs_per_piece, .gemm_f32 = record_f32, .gemm_i8 = record_i8};
	_Atomic bool stopped = false;
	EmbWork		work;
	size_t		stride = (size_t) n_panels * EMB_PANEL;
	EmbGemmF32	f32 = {
		.n_rows = n_rows, .n_in = n_in, .n_panels = n_panels, .a = nothing, .b = nothing, .c = nothing, .c_stride = stride
	};
	EmbGemmI8	i8 = {
		.n_rows = n_rows, .n_groups = n_in / EMB_GROUP, .n_panels = n_panels, .a = nothing, .a_scale = nothing,
		.b = nothing, .b_scale = nothing, .c = nothing, .c_stride = stride
	};
	int			n_wrong = 0;

	memset(&record, 0, sizeof(record));
	record.c = nothing;
	record.c_stride = stride;
	record.least_rows = n_rows;
	CHECK(emb_work_begin(&work, &kernels, NULL, &stopped));
	CHECK(is_i8 ? emb_work_multiply_i8(&work, &i8) : emb_work_multiply(&work, &f32, NULL));
	for (int32_t m = 0; m < n_rows; m++)
		for (int32_t p = 0; p < n_panels; p++)
			n_wrong += record.seen[m][p] != 1;
	CHECKF(n_wrong == 0, "%d x %d x %d panels: %d places", n_rows, n_in, n_panels, n_wrong);
	/* int8 counts half; a piece has one row of a tile at least */
	CHECKF(record.largest <= macs_per_piece * (is_i8 ? 2 : 1) || record.least_rows == 1,
		   "%d x %d x %d panels: %lld multiply-adds at once", n_rows, n_in, n_panels, (long long) record.largest);
	if (want_all_rows)
		CHECKF(record.least_rows == n_rows, "%d x %d x %d panels: pieces of %d rows read the weights again", n_rows, n_in, n_panels,
			   record.least_rows);
}

int
main(void)
{
	static const int32_t sizes[] = {4, 64, 384, 1024, 3072, 4096, 12288, 65536};
	static const int32_t panels[] = {1, 2, 3, 5, 24, 192, 256, 1536};
	static const int64_t levels[] = {200000, 16 << 20, 32 << 20};

	nothing = mmap(NULL, NOTHING_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (nothing == MAP_FAILED)
	{
		skip("no address space for recorded products");
		return done_testing();
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t j = 0; j < sizeof(panels) / sizeof(panels[0]); j++)
			for (size_t k = 0; k < sizeof(levels) / sizeof(levels[0]); k++)
				for (int32_t n_rows = 1; n_rows <= 96; n_rows += 19)
				{
					check_pieces(n_rows, sizes[i], panels[j], levels[k], false, false);
					check_pieces(n_rows, sizes[i], panels[j], levels[k], true, false);
				}
	/* the layers of 0.6B and 8B, by blocks of 96 rows */
	check_pieces(96, 1024, 384, 32 << 20, true, true);
	check_pieces(96, 3072, 64, 32 << 20, true, true);
	check_pieces(96, 4096, 1536, 32 << 20, true, true);
	check_pieces(96, 12288, 256, 32 << 20, true, true);
	return done_testing();
}
