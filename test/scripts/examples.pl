# docs/clients.md shows what examples/ has: each block is a piece of a file there, and each file is named.
use strict;
use warnings;
use Test::More;
use ScriptTest;

my %language_of = (py => 'python', js => 'js', java => 'java', go => 'go');
my %code;
for my $path (glob(top() . '/examples/*.* ' . top() . '/examples/pgx/*.go'))
{
	my $language = $language_of{ ($path =~ /\.(\w+)$/)[0] } or next;
	$code{$language}{$path} = slurp($path);
}
is(scalar(map { keys %$_ } values %code), 8, 'eight examples');

my $page = slurp(top() . '/docs/clients.md');
my @blocks;
push @blocks, [ $1, $2 ] while $page =~ /^```(\w+)\n(.*?)^```$/msg;
cmp_ok(scalar(@blocks), '>=', 12, scalar(@blocks) . ' blocks of code');
for my $block (@blocks)
{
	my ($language, $text) = @$block;
	my ($first) = $text =~ /^(.*)/;

	ok((grep { index("\n$_", "\n$text") >= 0 } values %{ $code{$language} // {} }), "a piece of an example: $first");
}
for my $path (map { keys %$_ } values %code)
{
	my $name = $path =~ s{^\Q${\top()}\E/}{}r;
	my $lines = () = slurp($path) =~ /\n/g;

	like($page, qr/\]\(\.\.\/\Q$name\E\)/, "$name is named");
	cmp_ok($lines, '<=', 100, "... and short: $lines lines");
}
done_testing();
