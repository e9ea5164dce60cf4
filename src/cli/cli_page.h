/*
 * cli_page.h
 *		An HTML page that needs nothing but itself.
 *
 * Example:
 *
 *		FILE	   *f = fopen("page.html", "w");
 *		page_begin(f, "title");
 *		page_heading(f, "Model");
 *		page_table_begin(f, "", NULL);
 *		page_row(f, "name", "<b>", NULL);		// text, escaped
 *		page_table_end(f);
 *		page_end(f);
 *
 * The page is well-formed XML as well. All text of files and users is escaped;
 * a policy in the page forbids scripts and requests, should a reader's browser
 * ever see more in it than text. Errors of f are left to the caller (ferror).
 */
#ifndef EMBED_CLI_PAGE_H
#define EMBED_CLI_PAGE_H

#include <stddef.h>
#include <stdio.h>

extern void page_begin(FILE *f, const char *title);
extern void page_end(FILE *f);
extern void page_heading(FILE *f, const char *text);

/* A paragraph of formatted text, escaped. */
extern void page_paragraph(FILE *f, const char *format,...) __attribute__((format(printf, 2, 3)));

/* len bytes as text: what HTML reads as a mark, controls and malformed UTF-8 are replaced. */
extern void page_text(FILE *f, const char *text, size_t len);

/* Columns or cells, ended by NULL; "" first: no heads of columns. The first cell is the row's head; numbers stand at the right. */
extern void page_table_begin(FILE *f, const char *column,...) __attribute__((sentinel));
extern void page_row(FILE *f, const char *cell,...) __attribute__((sentinel));
extern void page_table_end(FILE *f);

#define PAGE_MAX_LINES	4
#define PAGE_MAX_POINTS	24

/* y is below 0 where there is no point. */
typedef struct PageLine
{
	const char *label;
	double		y[PAGE_MAX_POINTS];
} PageLine;

/* Lines over x, which grows and has a logarithmic axis; y begins at 0. At most PAGE_MAX_LINES. */
typedef struct PageChart
{
	const char *title;
	const char *x_label;
	const char *y_label;
	int			n_points;
	int			x[PAGE_MAX_POINTS];
	int			n_lines;
	PageLine	lines[PAGE_MAX_LINES];
} PageChart;

extern void page_chart(FILE *f, const PageChart *chart);

#endif
