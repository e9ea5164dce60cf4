# What anybody may call, with inputs of 100 MB and more: a cancel ends it within 0.1 s
# of the backend's CPU time (which a busy machine does not change), or it has ended
# by itself; the backend goes on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;
use Time::HiRes qw(sleep time);

# Of 10 ms. The server itself copies 100 MB in 5 of them, an array of it several times.
my $LIMIT_TICKS = 15;
my $LIMIT_TICKS_ARRAY = 30;
my $node = new_node('large_inputs');

my %databases = (
	postgres => { words => q{repeat('several words, and some more. ', 3300000)}, accents => q{repeat(U&'\00E9', 50000000)} },
	latin1 => { encoding => 'LATIN1', accents => q{repeat(E'\xE9', 100000000)} },
	japanese => { encoding => 'EUC_JP', ideographs => q{repeat(E'\xC5\xEC', 50000000)} },
	plain => { encoding => 'SQL_ASCII', accents => q{repeat(E'\xC3\xA9', 50000000)} });
my %calls = (
	'embed' => q{embed(T, 'm')},
	'embed_many' => q{embed_many(ARRAY[T], 'm')},
	'embed_tokens' => q{cardinality(embed_tokens(T, 'm'))},
	'embed_info' => q{(embed_info(T, 'm')).tokens},
	'embed_chunks' => q{(SELECT count(*) FROM embed_chunks(T, 256, 32, 'm'))},
	'rerank' => q{rerank('a question', T, 'r')},
	'rerank, query' => q{rerank(T, 'an answer', 'r')});
my %others = (
	'name of a model' => q{embed('x', T)},
	'name of a reranker' => q{rerank('x', 'y', T)},
	'name in a setting' => q{embed_set_default(T)},
	'alias' => q{embed_set_alias(T, 'm')},
	'name behind an alias' => q{embed_set_alias('x', T)},
	'name to drop' => q{embed_drop(T)},
	'name to verify' => q{embed_verify(T)},
	'name with dependents' => q{embed_dependents(T)},
	'role' => q{embed_grant(T)},
	'key of an option' => q{embed_import('x', '/nowhere', key_option)},
	'option' => q{embed_import('x', '/nowhere', value_option)},
	'path' => q{embed_import('x', T)},
	'garbage as an image' => q{embed_load('x', garbage)},
	'sparse: one number' => q{embed_sparse_dot(T, '{}/9')},
	'sparse: many pairs' => q{embed_sparse_dot('{}/9', T)},
	'matrices' => q{maxsim(array_fill(1::float4, ARRAY[10000, 500]), array_fill(1::float4, ARRAY[10000, 500]))});

# Clock ticks that the process has used.
sub ticks
{
	my ($pid) = @_;
	my @stat = split / /, (slurp("/proc/$pid/stat") =~ s/^.*\) //sr);
	return $stat[11] + $stat[12];
}

# Waits until the session says where it is, or was long ago; its pid.
sub wait_until
{
	my ($db, $where, $enough) = @_;

	for (my $end = time() + 300; time() < $end; sleep(0.01))
	{
		my $row = query($node, $db, q{SELECT pid || ' ' || application_name FROM pg_stat_activity WHERE application_name IN ('calls', 'done')});
		my ($pid, $name) = $row =~ /^(\d+) (\w+)$/ or next;

		return $pid if $name eq $where || $name eq 'done' || ($enough && $enough->($pid));
	}
	die "the session did not come to \"$where\"";
}

# Cancels the sleep at the session's end. It may not have begun yet.
sub end_session
{
	my ($pid) = @_;

	for (my $end = time() + 60; time() < $end; sleep(0.01))
	{
		return
		  if query($node, 'postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = $pid AND query LIKE 'SELECT pg_sleep(600)%'") eq 't';
	}
	die 'the session did not come to its end';
}

# The call is cancelled after so many ticks: what it took from then on, what came of it, whether the session goes on.
sub cancelled
{
	my ($db, $text, $call, $after) = @_;
	# made before the call, of 100 MB as all texts here: the server converts without a look for a cancel
	my $garbage = $call =~ /garbage/ ? q{convert_to(t, 'UTF8')} : 'NULL';
	my $value_option = $call =~ /value_option/ ? q{jsonb_build_object('precision', t)} : 'NULL';
	my $key_option = $call =~ /key_option/ ? q{jsonb_build_object(t, 1)} : 'NULL';
	# A call may end by itself just before its cancel arrives, which then ends the handler or the DO: go on.
	# The session stays until the test has seen it, however long that takes.
	my $psql = start_psql($node, $db, qq{\\set ON_ERROR_STOP 0
SET client_min_messages = notice;
SELECT cardinality(embed('warm', 'm')) > 0;
DO \$do\$
DECLARE
	t text := $text;
	garbage bytea := $garbage;
	value_option jsonb := $value_option;
	key_option jsonb := $key_option;
BEGIN
	PERFORM set_config('application_name', 'calls', false);
	PERFORM $call;
	RAISE NOTICE 'state 00000';
EXCEPTION WHEN query_canceled OR OTHERS THEN
	RAISE NOTICE 'state %', SQLSTATE;
END \$do\$;
SELECT set_config('application_name', 'done', false);
SELECT cardinality(embed('still alive', 'm')) > 0;
SELECT pg_sleep(600);
});
	my $pid = wait_until($db, 'calls');
	my $begun = ticks($pid);

	$pid = wait_until($db, 'done', sub { ticks($_[0]) - $begun >= $after });
	my $asked = ticks($pid);

	query($node, 'postgres', "SELECT pg_cancel_backend($pid) FROM pg_stat_activity WHERE pid = $pid AND application_name = 'calls'");
	wait_until($db, 'done');
	my $ended = ticks($pid);
	end_session($pid);
	my ($status, $out, $err) = finish_psql($psql);
	my ($state) = $err =~ /state (\w{5})/;

	$state //= '57014' if $err =~ /canceling statement due to user request.*canceling statement due to user request/s;
	return ($ended - $asked, $state // $err, $status == 0 && $out =~ /^t\n.*^t$/ms);
}

sub check
{
	my ($db, $what, $text, $call) = @_;

	my $limit = $what =~ /many/ ? $LIMIT_TICKS_ARRAY : $LIMIT_TICKS;

	for my $after (2, 15)
	{
		my ($ticks, $state, $alive) = cancelled($db, $text, $call, $after);

		# the least of three: the call goes on until psql has started and sent the cancel
		for (my $i = 0; $i < 2 && $ticks > $limit && $state eq '57014'; $i++)
		{
			my ($again, $state_again) = cancelled($db, $text, $call, $after);

			$ticks = $again if $again < $ticks && $state_again eq '57014';
		}
		cmp_ok($ticks, '<=', $limit, "$what, cancelled after $after ticks: $state $ticks ticks later");
		ok($alive && $state !~ /^XX|^53/, '... and the backend goes on') or diag($state);
		last if $state ne '57014';
	}
	return;
}

for my $db (sort { ($a ne 'postgres') <=> ($b ne 'postgres') || $a cmp $b } keys %databases)
{
	my %texts = %{ $databases{$db} };
	my $encoding = delete $texts{encoding};

	query($node, 'postgres', "CREATE DATABASE $db ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0") if $encoding;
	query($node, $db, 'CREATE EXTENSION IF NOT EXISTS embed');
	import_model($node, $db, 'm', tiny_model('bert-cls'));
	import_model($node, $db, 'r', tiny_model('bert-rerank'));
	for my $text (sort keys %texts)
	{
		for my $what (sort keys %calls)
		{
			next if $encoding && $what =~ /many|query/;
			check($db, "$db, $text: $what", $texts{$text}, $calls{$what} =~ s/\bT\b/t/gr);
		}
	}
}
for my $what (sort keys %others)
{
	my $text = $what =~ /number/ ? q{'{1:' || repeat('1', 100000000) || '}/9'} : $what =~ /pairs/ ? q{(SELECT '{' || string_agg(g || ':1.5', ',') || '}/5000000' FROM generate_series(1, 5000000) g)}
	  : q{repeat('several words ', 7000000)};

	check('postgres', $what, $text, $others{$what} =~ s/\bT\b/t/gr);
}

# What is converted in pieces is what it was: bits and places over the pieces' borders.
for my $db ('latin1', 'japanese')
{
	my $char = $db eq 'latin1' ? q{E'\xE9'} : q{E'\xC5\xEC'};

	for my $n (262142 .. 262146)
	{
		is(query($node, $db, qq{SET client_encoding = SQL_ASCII; SELECT count(*) > 1 AND bool_and(chunk = substr(t, start_char, end_char - start_char) AND tokens = (embed_info(chunk, 'm')).tokens)
			AND max(end_char) = length(t) + 1 FROM (SELECT repeat('word ', $n / 5) || repeat('a', $n % 5) || repeat($char || ' ', 300000) || 'end' AS t) s, embed_chunks(t, 500, 20, 'm') GROUP BY t}),
			't', "$db: chunks with the first of many characters at $n");
	}
}

done_testing();
