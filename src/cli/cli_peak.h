/*
 * cli_peak.h
 *		What one core can compute at most at a level.
 *
 * Example:
 *
 *		double		gops = cli_peak_gops("avx512vnni", false);
 *
 * 10^9 operations a second, where a multiplication and an addition are two:
 * the best of some short runs in CPU time of the thread, 0.1 s in all. 0: there
 * is no such figure for the level (scalar). The machine must have the level,
 * and for amx the permission for tiles.
 */
#ifndef EMBED_CLI_PEAK_H
#define EMBED_CLI_PEAK_H

#include <stdbool.h>

extern double cli_peak_gops(const char *level, bool is_fp32);

#endif
