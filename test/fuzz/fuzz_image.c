/*
 * fuzz_image.c
 *		Images of untrusted origin: what opens must be safe to use. Each input
 *		is tried as it is and with its size and checksum put right, with all
 *		checks and with the quick ones.
 */
#include "image_fuzz.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void	   *image;

	if (posix_memalign(&image, EMB_ALIGNMENT, size > 0 ? size : 1) != 0)
		return 0;
	memcpy(image, data, size);
	try_open(image, size, EMB_OPEN_CHECK_ALL);
	image_fix_header(image, size);
	try_open(image, size, EMB_OPEN_CHECK_ALL);
	try_open(image, size, 0);
	free(image);
	return 0;
}
