# A level that fails its self-test: the session computes with another one, the
# server's log says once a session what failed, and embed.isa and embed_verify
# say it, too. A library that is preloaded makes fmaf wrong, with which plain C
# multiplies, so no level equals plain C any more.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $db = 'postgres';
my $work = PostgreSQL::Test::Utils->can('tempdir') ? PostgreSQL::Test::Utils::tempdir() : TestLib::tempdir();
my $node = new_node('levels');
my $level = query($node, $db, 'SELECT embed_isa()');

import_model($node, $db, 'm', tiny_model('bert-cls'));
unlike(slurp($node->logfile), qr/failed its self-test/, 'no level of this machine fails');
is(query($node, $db, q{SELECT detail FROM embed_verify('m') WHERE "check" = 'kernels'}), "$level, equal to plain C in the self-test", 'and embed_verify says so');

spit("$work/wrong.c", "float fmaf(float a, float b, float c);\nfloat fmaf(float a, float b, float c) { return a * b + c + 1; }\n");
if ($level eq 'scalar' || system("gcc -O1 -shared -fPIC -o $work/wrong.so $work/wrong.c 2>/dev/null") != 0)
{
	skip_loudly('no level but scalar, or no gcc: no level can be made to fail');
	done_testing();
	exit;
}
$node->stop;
{
	local $ENV{LD_PRELOAD} = "$work/wrong.so";
	$node->start;
}
if (query($node, $db, 'SELECT embed_isa()') ne 'scalar')
{
	skip_loudly('this build does not call fmaf: no level can be made to fail');
	done_testing();
	exit;
}

my $line = qr/LOG:  instruction set level "$level" failed its self-test in operation gemm_f32$/m;
my $seen = () = slurp($node->logfile) =~ /$line/g;
is($seen, 1, 'a session logs which level failed, and in what');
like(slurp($node->logfile), qr/DETAIL:  This session computes with level "scalar", whose results are the same\.\n.*HINT:  Please report this/,
	'and which level it takes instead');
query($node, $db, q{SELECT embed_isa(); SELECT embed_isa(); SET embed.isa = 'scalar'; SELECT embed_isa(); RESET embed.isa; SELECT embed_isa()});
$seen = () = slurp($node->logfile) =~ /$line/g;
is($seen, 2, 'once a session');
like((error_of($node, $db, "SELECT embed_isa(); SET embed.isa = '$level'"))[1], qr/failed its self-test on this machine, in operation gemm_f32/,
	'who asks for the level is told');
is(query($node, $db, q{SELECT detail FROM embed_verify('m') WHERE "check" = 'kernels'}),
	"scalar, equal to plain C in the self-test; $level was not, in gemm_f32", 'embed_verify tells it');

$node->stop;
done_testing();
