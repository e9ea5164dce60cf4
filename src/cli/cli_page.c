/*
 * cli_page.c
 *		HTML and SVG.
 */
#include "cli/cli_page.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "common/utf8.h"

#define REPLACEMENT "\xEF\xBF\xBD"	/* U+FFFD */

static const char style[] =
":root{color-scheme:light dark}\n"
"body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}\n"
"h1{font-size:1.5em;overflow-wrap:anywhere}h2{font-size:1.15em;margin-top:2em}\n"
"table{border-collapse:collapse;margin:1em 0}\n"
"th,td{border:1px solid #8888;padding:.25em .6em;text-align:left;vertical-align:top;overflow-wrap:anywhere;white-space:pre-wrap}\n"
"td.n{text-align:right;white-space:nowrap}\n"
"svg{max-width:100%;height:auto}svg text{fill:currentColor;font-size:13px}\n"
".warn{border-left:4px solid #c0392b;padding-left:.8em}\n";

/* Of lines: readable on white and on black. */
static const char *const colors[PAGE_MAX_LINES] = {"#d35400", "#2980b9", "#27ae60", "#8e44ad"};
static const char *const dashes[PAGE_MAX_LINES] = {"none", "none", "6 4", "6 4"};

/* ------------------------------------------------------------------ text */

/* What a browser may act on, or does not show: a replacement, else NULL. */
static const char *
replacement(uint32_t cp)
{
	switch (cp)
	{
		case '&':
			return "&amp;";
		case '<':
			return "&lt;";
		case '>':
			return "&gt;";
		case '"':
			return "&quot;";
		case '\'':
			return "&#39;";
		default:
			break;
	}
	/* C0, C1; directions, which turn text around; what XML forbids */
	if ((cp < 0x20 && cp != '\n' && cp != '\t') || (cp >= 0x7F && cp < 0xA0))
		return REPLACEMENT;
	if ((cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069) || (cp & 0xFFFE) == 0xFFFE)
		return REPLACEMENT;
	return NULL;
}

void
page_text(FILE *f, const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *) text;

	while (len > 0)
	{
		uint32_t	cp;
		int			n = emb_utf8_decode(p, len, &cp);
		const char *other = n > 0 ? replacement(cp) : REPLACEMENT;

		if (other != NULL)
			fputs(other, f);
		else
			fwrite(p, 1, n, f);
		n = n > 0 ? n : 1;
		p += n;
		len -= n;
	}
}

static void
put(FILE *f, const char *text)
{
	page_text(f, text, strlen(text));
}

/* ------------------------------------------------------------------ page */

void
page_begin(FILE *f, const char *title)
{
	fputs("<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
		  "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
		  "<meta name=\"viewport\" content=\"width=device-width\"/>\n<title>", f);
	put(f, title);
	fprintf(f, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", style);
	put(f, title);
	fputs("</h1>\n", f);
}

void
page_end(FILE *f)
{
	fputs("</body>\n</html>\n", f);
}

void
page_heading(FILE *f, const char *text)
{
	fputs("<h2>", f);
	put(f, text);
	fputs("</h2>\n", f);
}

void
page_paragraph(FILE *f, const char *format,...)
{
	char		text[2048];
	va_list		args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fputs("<p>", f);
	put(f, text);
	fputs("</p>\n", f);
}

/* ----------------------------------------------------------------- tables */

void
page_table_begin(FILE *f, const char *column,...)
{
	va_list		args;

	fputs("<table>\n", f);
	if (column[0] == '\0')
	{
		fputs("<tbody>\n", f);
		return;
	}
	fputs("<thead><tr>", f);
	va_start(args, column);
	for (; column != NULL; column = va_arg(args, const char *))
	{
		fputs("<th>", f);
		put(f, column);
		fputs("</th>", f);
	}
	va_end(args);
	fputs("</tr></thead>\n<tbody>\n", f);
}

/* Whether a cell reads as a number with or without a unit. */
static bool
is_figure(const char *cell)
{
	return cell[0] >= '0' && cell[0] <= '9' && strlen(cell) < 24;
}

void
page_row(FILE *f, const char *cell,...)
{
	va_list		args;

	fputs("<tr><th>", f);
	put(f, cell);
	fputs("</th>", f);
	va_start(args, cell);
	while ((cell = va_arg(args, const char *)) != NULL)
	{
		fputs(is_figure(cell) ? "<td class=\"n\">" : "<td>", f);
		put(f, cell);
		fputs("</td>", f);
	}
	va_end(args);
	fputs("</tr>\n", f);
}

void
page_table_end(FILE *f)
{
	fputs("</tbody>\n</table>\n", f);
}

/* ----------------------------------------------------------------- charts */

#define WIDTH	760
#define HEIGHT	360
#define LEFT	90
#define RIGHT	20
#define TOP		36
#define BOTTOM	100
#define PLOT_WIDTH	(WIDTH - LEFT - RIGHT)
#define PLOT_HEIGHT	(HEIGHT - TOP - BOTTOM)
#define N_TICKS	5

/* The least of 1, 2, 5 times a power of ten that is not below y / N_TICKS. */
static double
tick_of(double y)
{
	double		power = pow(10, floor(log10(y / N_TICKS)));
	double		factor = y / N_TICKS / power;

	return power * (factor <= 1 ? 1 : factor <= 2 ? 2 : factor <= 5 ? 5 : 10);
}

static double
x_of(const PageChart *chart, int i)
{
	double		first = log2(chart->x[0]);
	double		last = log2(chart->x[chart->n_points - 1]);

	return LEFT + (last > first ? (log2(chart->x[i]) - first) / (last - first) * PLOT_WIDTH : PLOT_WIDTH / 2.0);
}

static double
y_of(double y, double top)
{
	return TOP + PLOT_HEIGHT * (1 - y / top);
}

static void
put_label(FILE *f, double x, double y, const char *anchor, const char *text)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
	put(f, text);
	fputs("</text>\n", f);
}

/* 12,345; a fraction only below 10. */
static const char *
figure(double value, char buf[32])
{
	char		digits[24];
	int			n;
	int			at = 0;

	snprintf(digits, sizeof(digits), value < 10 && value != floor(value) ? "%.2g" : "%.0f", value);
	n = (int) strlen(digits);
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && (n - i) % 3 == 0 && strchr(digits, '.') == NULL)
			buf[at++] = ',';
		buf[at++] = digits[i];
	}
	buf[at] = '\0';
	return buf;
}

static void
draw_axes(FILE *f, const PageChart *chart, double tick, double top)
{
	char		text[32];

	for (double y = 0; y <= top * 1.0001; y += tick)
	{
		fprintf(f, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" stroke-opacity=\"%s\"/>\n",
				LEFT, WIDTH - RIGHT, y_of(y, top), y_of(y, top), y == 0 ? "1" : "0.2");
		put_label(f, LEFT - 8, y_of(y, top) + 4, "end", figure(y, text));
	}
	for (int i = 0; i < chart->n_points; i++)
	{
		/* the last length may be near the one before */
		if (i == 0 || i == chart->n_points - 1 || x_of(chart, chart->n_points - 1) - x_of(chart, i) > 40)
			put_label(f, x_of(chart, i), TOP + PLOT_HEIGHT + 18, "middle", figure(chart->x[i], text));
	}
	put_label(f, LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT + 40, "middle", chart->x_label);
	put_label(f, 4, 18, "start", chart->y_label);
}

static void
draw_line(FILE *f, const PageChart *chart, int k, double top)
{
	const PageLine *line = &chart->lines[k];
	double		legend_x = LEFT + (k % 2) * PLOT_WIDTH / 2.0;
	double		legend_y = TOP + PLOT_HEIGHT + 64 + (k / 2) * 20;

	fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2.5\" stroke-dasharray=\"%s\" points=\"", colors[k], dashes[k]);
	for (int i = 0; i < chart->n_points; i++)
	{
		if (line->y[i] >= 0)
			fprintf(f, "%.1f,%.1f ", x_of(chart, i), y_of(line->y[i], top));
	}
	fputs("\"/>\n", f);
	for (int i = 0; i < chart->n_points; i++)
	{
		if (line->y[i] >= 0)
			fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", x_of(chart, i), y_of(line->y[i], top), colors[k]);
	}
	fprintf(f, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"2.5\" stroke-dasharray=\"%s\"/>\n",
			legend_x, legend_x + 36, legend_y - 4, legend_y - 4, colors[k], dashes[k]);
	put_label(f, legend_x + 44, legend_y, "start", line->label);
}

void
page_chart(FILE *f, const PageChart *chart)
{
	double		most = 0;
	double		tick;
	double		top;

	for (int k = 0; k < chart->n_lines; k++)
	{
		for (int i = 0; i < chart->n_points; i++)
			most = fmax(most, chart->lines[k].y[i]);
	}
	if (chart->n_points == 0 || !(most > 0))
		return;
	tick = tick_of(most);
	top = ceil(most / tick) * tick;
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n<title>", WIDTH, HEIGHT, WIDTH, HEIGHT);
	put(f, chart->title);
	fputs("</title>\n", f);
	draw_axes(f, chart, tick, top);
	for (int k = 0; k < chart->n_lines; k++)
		draw_line(f, chart, k, top);
	fputs("</svg>\n", f);
}
