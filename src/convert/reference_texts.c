/*
 * reference_texts.c
 *		Texts stored in every image with their vectors at import: lengths from
 *		nothing to a page, several scripts, words unknown to every vocabulary;
 *		and pairs of texts with their logits for images of rerankers.
 */
#include "convert/references.h"

const char *const emb_reference_texts[] = {
	"",
	"x",
	"water",
	"PostgreSQL",
	"open source database",
	"How do vaccines work?",
	"Where can I buy a second-hand bicycle near the university?",
	"The committee postponed its decision until the report is published.",
	"SELECT id, title FROM articles ORDER BY published DESC LIMIT 5;",
	"if (p == NULL)\n\treturn -1;\t/* out of memory */",
	"Total: 1,299.00 (incl. 8.5 % tax), due 2025-02-28, ref. #A-77/b",
	"Tr\xc3\xa8s bon h\xc3\xb4tel, mais le petit-d\xc3\xa9jeuner \xc3\xa9tait froid.",
	("Die T\xc3\xbcr zum Lager klemmt; bitte den gr\xc3\xb6\xc3\x9f" "eren Schl\xc3\xbcssel benutzen."),
	"\xd0\x9f\xd0\xbe\xd0\xb5\xd0\xb7\xd0\xb4 \xd0\xbe\xd0\xbf\xd0\xbe\xd0\xb7\xd0\xb4\xd0\xb0\xd0\xbb \xd0\xbd\xd0\xb0 \xd1\x87\xd0\xb0\xd1\x81.",
	"\xe5\x9b\xbe\xe4\xb9\xa6\xe9\xa6\x86\xe6\x98\x9f\xe6\x9c\x9f\xe4\xb8\x80\xe4\xb8\x8d\xe5\xbc\x80\xe9\x97\xa8\xe3\x80\x82",
	"\xe6\x98\x8e\xe6\x97\xa5\xe3\x81\xaf\xe9\x9b\xa8\xe3\x81\xa7\xe3\x81\x97\xe3\x82\x87\xe3\x81\x86\xe3\x80\x82",
	"\xeb\x8f\x84\xec\x84\x9c\xea\xb4\x80\xec\x9d\x80 \xec\x96\xb4\xeb\x94\x94\xec\x97\x90 \xec\x9e\x88\xec\x8a\xb5\xeb\x8b\x88\xea\xb9\x8c?",
	"\xd9\x87\xd8\xb0\xd8\xa7 \xd8\xa7\xd9\x84\xd9\x83\xd8\xaa\xd8\xa7\xd8\xa8 \xd9\x85\xd9\x81\xd9\x8a\xd8\xaf",
	"\xf0\x9f\x9a\xb2\xf0\x9f\x8c\xa7\xef\xb8\x8f late again!! \xf0\x9f\x98\x85",
	"zxqv blorptang 9f8e7d6c5b4a http://127.0.0.1:8080/a?b=c%20d&e=%F0",
	"Rinse the rice until the water runs clear, bring it to the boil with one and a half times its volume of water, cover it, and leave it on the lowest heat for twelve minutes.",
	"The river rises in the northern hills, passes three small towns, and joins the sea through a wide delta. In spring its water floods the meadows on both banks; in late summer it can be crossed on foot. A railway bridge from the last century, a weir and two mills are listed as monuments. The path along the eastern bank is popular with walkers and leads past a heronry that must not be entered between March and July.",
	"Release notes. This version fixes a crash when a table without columns is analysed, a memory leak in the parser, and two cases in which a parallel plan returned rows twice. Index builds on large tables use less memory. The default of one setting changed: checkpoints are now spread over nine tenths of the interval. Before you upgrade, read the section on incompatible changes, take a backup, and try the upgrade on a copy. Extensions must be compiled again. Reports of problems are welcome on the mailing list; please add the version, the operating system, the query and its plan, and, if the server crashed, a stack trace. Thanks to everyone who tested the release candidates, wrote documentation, translated messages or answered questions.",
};

const int	emb_n_reference_texts = sizeof(emb_reference_texts) / sizeof(emb_reference_texts[0]);

const EmbTextPair emb_reference_pairs[] = {
	{"",
	""},
	{"x",
	"x"},
	{"water",
	"Water boils at 100 degrees at sea level, and at less in the mountains."},
	{"open source database",
	"PostgreSQL is an open source database that runs on most operating systems."},
	{"open source database",
	"The cake needs half an hour in the oven and an hour on the window sill."},
	{"where can i buy a second-hand bicycle",
	"The student union runs a market for used bicycles every first Saturday of the month, behind the university library."},
	{"where can i buy a second-hand bicycle",
	"SELECT id, title FROM articles ORDER BY published DESC LIMIT 5;"},
	{"total amount due",
	"Total: 1,299.00 (incl. 8.5 % tax), due 2025-02-28, ref. #A-77/b"},
	{"petit-d\xc3\xa9jeuner",
	"Tr\xc3\xa8s bon h\xc3\xb4tel, mais le petit-d\xc3\xa9jeuner \xc3\xa9tait froid."},
	{"T\xc3\xbcr zum Lager",
	("Die T\xc3\xbcr zum Lager klemmt; bitte den gr\xc3\xb6\xc3\x9f" "eren Schl\xc3\xbcssel benutzen.")},
	{"\xd0\xbf\xd0\xbe\xd0\xb5\xd0\xb7\xd0\xb4",
	"\xd0\x9f\xd0\xbe\xd0\xb5\xd0\xb7\xd0\xb4 \xd0\xbe\xd0\xbf\xd0\xbe\xd0\xb7\xd0\xb4\xd0\xb0\xd0\xbb \xd0\xbd\xd0\xb0 \xd1\x87\xd0\xb0\xd1\x81."},
	{"\xe5\x9b\xbe\xe4\xb9\xa6\xe9\xa6\x86\xe5\x87\xa0\xe7\x82\xb9\xe5\xbc\x80\xe9\x97\xa8",
	"\xe5\x9b\xbe\xe4\xb9\xa6\xe9\xa6\x86\xe6\x98\x9f\xe6\x9c\x9f\xe4\xb8\x80\xe4\xb8\x8d\xe5\xbc\x80\xe9\x97\xa8\xe3\x80\x82"},
	{"\xf0\x9f\x9a\xb2 late",
	"\xf0\x9f\x9a\xb2\xf0\x9f\x8c\xa7\xef\xb8\x8f late again!! \xf0\x9f\x98\x85"},
	{"zxqv 9f8e7d",
	"zxqv blorptang 9f8e7d6c5b4a http://127.0.0.1:8080/a?b=c%20d&e=%F0"},
	{"how to cook rice",
	"Rinse the rice until the water runs clear, bring it to the boil with one and a half times its volume of water, cover it, and leave it on the lowest heat for twelve minutes."},
	{"a river with a heronry and a railway bridge that is listed as a monument",
	"The river rises in the northern hills, passes three small towns, and joins the sea through a wide delta. In spring its water floods the meadows on both banks; in late summer it can be crossed on foot. A railway bridge from the last century, a weir and two mills are listed as monuments. The path along the eastern bank is popular with walkers and leads past a heronry that must not be entered between March and July."},
};

const int	emb_n_reference_pairs = sizeof(emb_reference_pairs) / sizeof(emb_reference_pairs[0]);
