/*
 * blas.c
 *		Loads OpenBLAS.
 *
 * It is not linked: who does not compare models needs no OpenBLAS, and no
 * other command of embed-cli should start its threads.
 */
#include "reference/blas.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of cblas.h */
#define ROW_MAJOR	101
#define NO_TRANS	111
#define TRANS		112

/* Debian and Arch; Fedora's builds with OpenMP and with pthreads. */
static const char *const names[] = {"libopenblas.so.0", "libopenblaso.so.0", "libopenblasp.so.0"};

/* NULL: reason says why the first name could not be loaded. */
static void *
load_library(char *reason, size_t size)
{
	void	   *library = NULL;

	for (size_t i = 0; library == NULL && i < sizeof(names) / sizeof(names[0]); i++)
	{
		library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
		if (library == NULL && i == 0)
			snprintf(reason, size, "%s", dlerror());
	}
	return library;
}

/*
 * The build with pthreads starts its threads when it is loaded: then this
 * variable is the only way to limit them.
 */
static void
limit_threads(int n_threads)
{
	char		number[16];

	snprintf(number, sizeof(number), "%d", n_threads);
	setenv("OPENBLAS_NUM_THREADS", number, 0);
}

EmbStatus
emb_blas_open(int n_threads, EmbBlas *blas, EmbError *err)
{
	void	   *library;
	void		(*set_threads) (int);
	char	   *(*get_config) (void);
	char		reason[256];

	limit_threads(n_threads);
	library = load_library(reason, sizeof(reason));
	if (library == NULL)
	{
		emb_error(err, EMB_ERR_NOT_FOUND, "the reference needs OpenBLAS: %s", reason);
		return emb_error_hint(err, EMB_ERR_NOT_FOUND, "Install it, for example: apt-get install libopenblas0-openmp");
	}
	*blas = (EmbBlas) {.n_threads = n_threads, .config = ""};
	*(void **) &blas->sgemm = dlsym(library, "cblas_sgemm");
	*(void **) &set_threads = dlsym(library, "openblas_set_num_threads");
	*(void **) &get_config = dlsym(library, "openblas_get_config");
	if (blas->sgemm == NULL)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "OpenBLAS was built without cblas_sgemm");
	if (get_config != NULL)
		blas->config = get_config();
	if (strstr(blas->config, "USE64BITINT") != NULL)
		return emb_error(err, EMB_ERR_UNSUPPORTED, "OpenBLAS was built with integers of 64 bits; the reference needs 32");
	if (set_threads != NULL)
		set_threads(n_threads);
	return EMB_OK;
}

void
emb_blas_multiply(const EmbBlas *blas, int32_t n, int32_t n_out, int32_t n_in, const float *x, int32_t x_stride,
				  const float *w, int32_t w_stride, float y_factor, float *y, int32_t y_stride)
{
	blas->sgemm(ROW_MAJOR, NO_TRANS, TRANS, n, n_out, n_in, 1, x, x_stride, w, w_stride, y_factor, y, y_stride);
}

void
emb_blas_combine(const EmbBlas *blas, int32_t n, int32_t n_out, int32_t n_in, const float *x, int32_t x_stride,
				 const float *w, int32_t w_stride, float *y, int32_t y_stride)
{
	blas->sgemm(ROW_MAJOR, NO_TRANS, NO_TRANS, n, n_out, n_in, 1, x, x_stride, w, w_stride, 0, y, y_stride);
}
