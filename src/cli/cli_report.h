/*
 * cli_report.h
 *		What a report has measured: cli_report_measure.c fills it, cli_report.c
 *		writes the page.
 */
#ifndef EMBED_CLI_REPORT_H
#define EMBED_CLI_REPORT_H

#include "cli/cli.h"
#include "cli/cli_machine.h"
#include "image/image.h"

#define REPORT_MAX_LENGTHS	24
#define REPORT_MAX_SERIES	4

/* One length of a series. */
typedef struct ReportPoint
{
	bool		is_measured;
	int			n_texts;
	CliTimes	times;
	double		tokens_per_s;
	double		expected_s;		/* of a call that was too long to be made */
	size_t		scratch_bytes;
} ReportPoint;

/* One line of the chart: threads, and texts a call. */
typedef struct ReportSeries
{
	char		label[64];
	int			n_threads;
	int			batch;
	ReportPoint points[REPORT_MAX_LENGTHS];
} ReportSeries;

typedef struct Report
{
	const CliArgs *args;
	CliModel	m;
	EmbImageView view;
	CliMachine	machine;
	char		fingerprint[2 * EMB_HASH_SIZE + 1];
	double		peak_gops;		/* of a core; 0: unknown */
	int			n_lengths;
	int			lengths[REPORT_MAX_LENGTHS];
	int			n_series;
	ReportSeries series[REPORT_MAX_SERIES];
	double		measured_s;
} Report;

/* Measures an open model: needs args, m, view and machine. Returns an exit code. */
extern int	report_measure(Report *r);

/* Multiplications and additions of linear layers and attention for a text, as bench/README.md counts them. */
extern double report_operations(const EmbArch *arch, int n_tokens);

#endif
