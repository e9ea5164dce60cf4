# Image files that are cut, changed, replaced or deleted: while a statement runs,
# between two statements, while nobody looks. Nobody crashes, and no call ever
# gives another vector.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Test::More;

my $node = new_node('damage');
my $db = 'postgres';
my $dir = real_model() // tiny_model('bert-mean-48');
my $hash = "md5(embed('a text', 'm')::text)";

import_model($node, $db, 'm', $dir);
import_model($node, $db, 'f', tiny_model('bert-cls'), '{"precision": "fp32"}');
my %want = map { $_ => query($node, $db, "SELECT md5(embed('a text', '$_')::text)") } qw(m f);
my $postmaster = query($node, $db, 'SELECT pg_postmaster_start_time()');

sub file_of
{
	my ($model) = @_;
	my $fingerprint = query($node, $db, "SELECT fingerprint FROM embed_models WHERE name = '$model'");
	my ($file) = grep { /\Q$fingerprint\E/ } image_files($node);
	return $file;
}

# change_file(FILE, CODE): as the superuser of the machine would; keeps the time of modification if asked to.
sub change_file
{
	my ($file, $change, $keep_time) = @_;
	my $mtime = (stat $file)[9];

	chmod 0600, $file;
	$change->($file);
	utime $mtime, $mtime, $file if $keep_time;
	return;
}

sub flip
{
	my ($file) = @_;
	my $at = int((-s $file) * 0.7);

	open my $f, '+<:raw', $file or die "$file: $!";
	seek $f, $at, 0;
	read $f, my $byte, 1;
	seek $f, $at, 0;
	print $f chr(ord($byte) ^ 1);
	close $f;
	return;
}

# One session: the statements' outputs and the SQLSTATEs of its errors.
sub session
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');

	$node->psql($db, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 0);
	return ($out, join(' ', $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/g), $err);
}

# The third row of a statement cuts the file that the call site has open. A text
# as long as there is room lets helper threads meet the hole.
query(
	$node, $db, q{
	CREATE FUNCTION cut(i int, file text, size text, words int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF i = 3 THEN
			EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('cat >/dev/null; chmod u+w %1$s && truncate -s %2$s %1$s', file, size));
		END IF;
		RETURN i || repeat(' words', words);
	END $$});

for my $model (qw(m f))
{
	my $file = file_of($model);
	my $size = -s $file;

	for my $kept (0, int($size / 200), int($size / 2))
	{
		my %call = (
			'embed' => "embed(%s, '$model')",
			'embed_query' => "embed_query(%s, '$model')",
			'embed of an array' => "embed(ARRAY[%s, 'b', 'c'], '$model')",
			'embed_rows' => "(SELECT count(embedding) FROM embed_rows(ARRAY[%s, 'b', 'c'], '$model'))",
			'embed_tokens' => "embed_tokens(%s, '$model')",
			'embed_info' => "embed_info(%s, '$model')",
			'embed_agg' => "(SELECT embed_agg(x, '$model') FROM (VALUES (%s), ('b')) v(x))",
			'embed_avg' => "(SELECT embed_avg(x, '$model') FROM (VALUES (%s), ('b')) v(x))");
		my ($n_calls, $n_errors, @bad) = (0, 0);

		for my $what (sort keys %call)
		{
			# both lengths for one model, in turn for the other
			for my $words ($model eq 'm' ? ($n_calls % 2 ? 600 : 3) : (3, 600))
			{
				my $call = sprintf $call{$what}, "cut(i, '" . file_of($model) . "', '$kept', $words)";
				my ($out, $state, $err) = session("SET embed.cache_entries = 0;\nSET embed.batch_tokens = 256;\n"
					  . "SELECT count($call) FROM generate_series(1, 30) i;\nSELECT md5(embed('a text', '$model')::text);");
				$n_calls++;
				$n_errors++ if $state eq '58030';
				# without an error everything that was read came from what is left
				push @bad, "$what: $state $out $err" unless $out =~ /^(?:30\n)?$want{$model}$/ && $state =~ /^(?:58030)?$/;
			}
		}
		is_deeply(\@bad, [], "model $model cut to $kept bytes: $n_calls statements, $n_errors errors, and the next one is right");
		cmp_ok($n_errors, '>=', $n_calls / 2, '... most of them were disturbed');
	}
}
is(query($node, $db, 'SELECT pg_postmaster_start_time()'), $postmaster, 'no backend crashed');

# The file is written to or cut at row 3, in ways of which no page tells: every
# function that reads an image has 58030, nothing that was computed leaves, and
# the next statement has the right bits. CREATE TABLE keeps what does leave.
import_model($node, $db, 'k', tiny_model('bge-m3'));
import_model($node, $db, 'r', tiny_model('bert-rerank'));
import_model($node, $db, 's', tiny_model('model2vec'));
query(
	$node, $db, q{
	CREATE FUNCTION run(i int, command text, words int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF i = 3 AND command <> '' THEN
			EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'cat >/dev/null; ' || command);
		END IF;
		RETURN i || repeat(' words', words);
	END $$});
my %reads = (
	'embed' => [ 'embed(%s, %s)', qw(m k s) ],
	'embed, few dimensions' => [ 'embed(%s, %s, 8)', 'm' ],
	'embed_query' => [ 'embed_query(%s, %s)', 'm' ],
	'embed of an array' => [ q{embed(ARRAY[%s, 'b', 'c'], %s)}, 'm' ],
	'embed_rows' => [ q{(SELECT array_agg(e::text) FROM embed_rows(ARRAY[%s, 'b', 'c'], %s) e)}, 'm' ],
	'embed_tokens' => [ 'embed_tokens(%s, %s)', qw(m k s) ],
	'embed_info' => [ 'embed_info(%s, %s)', qw(m s) ],
	'embed_chunks' => [ '(SELECT array_agg(c::text) FROM embed_chunks(%s, 8, 2, %s) c)', qw(m k) ],
	'embed_agg' => [ q{(SELECT embed_agg(x, y) FROM (VALUES (%s, %s), ('b', %2$s)) v(x, y))}, 'm' ],
	'embed_avg' => [ q{(SELECT embed_avg(x, y) FROM (VALUES (%s, %s), ('b', %2$s)) v(x, y))}, 'm' ],
	'embed_sparse' => [ 'embed_sparse(%s, %s)', 'k' ],
	'embed_multi' => [ 'embed_multi(%s, %s)', 'k' ],
	'embed_all' => [ 'embed_all(%s, %s)', 'k' ],
	'rerank' => [ q{rerank('a query', %s, %s)}, 'r' ],
	'rerank of an array' => [ q{rerank('a query', ARRAY['b', %s], %s)}, 'r' ],
	'rerank_top' => [ q{(SELECT array_agg(t::text) FROM rerank_top('a query', ARRAY['b', %s], 2, %s) t)}, 'r' ],
	'rerank_agg' => [ q{(SELECT rerank_agg('a query', x, y) FROM (VALUES (%s, %s), ('b', %2$s)) v(x, y))}, 'r' ]);
# A command that writes so many zeros over a file from an offset on.
sub zeros
{
	my ($f, $offset, $n) = @_;
	return "dd if=/dev/zero of=$f bs=1M oflag=seek_bytes iflag=count_bytes seek=$offset count=$n conv=notrunc status=none";
}

my %changes = (
	'zeros over its second half' => sub { my ($f, $n) = @_; zeros($f, int($n / 2), int($n / 2)) },
	'one byte changed' => sub { my ($f, $n) = @_; "printf x | dd of=$f bs=1 seek=" . int($n * 0.6) . ' conv=notrunc status=none' },
	'zeros over all but the first page' => sub { my ($f, $n) = @_; zeros($f, 4096, $n - 4096) },
	'cut by one byte' => sub { my ($f, $n) = @_; "truncate -s -1 $f" },
	'cut inside its last page' => sub { my ($f, $n) = @_; 'truncate -s ' . ($n - $n % 4096 + 1) . " $f" },
	'cut inside its first page' => sub { my ($f, $n) = @_; "truncate -s 1147 $f" },
	'longer' => sub { my ($f, $n) = @_; "truncate -s +1 $f" });
my $n_changes = 0;
for my $change (sort keys %changes)
{
	my ($n_statements, @bad) = (0);

	for my $what (sort keys %reads)
	{
		my ($format, @models) = @{ $reads{$what} };
		for my $model (@models)
		{
			my $file = file_of($model);
			my $words = $n_changes++ % 2 ? 60 : 3;
			my $select = sub { 'SELECT i, md5((' . sprintf($format, 'run(i, ' . quote($_[0]) . ", $words)", "'$model'") . ')::text) v FROM generate_series(1, 6) i' };
			my $disturbed = $select->("chmod u+w $file && " . $changes{$change}->($file, -s $file));
			my $calm = $select->('');
			my ($out, $state, $err) = session("SET embed.cache_entries = 0;\nCREATE TEMP TABLE good AS $calm;\nCREATE TEMP TABLE bad AS $disturbed;\n"
				  . "CREATE TEMP TABLE again AS $calm;\nSELECT to_regclass('bad') IS NULL, (SELECT count(*) FROM (TABLE good INTERSECT TABLE again) s);");
			$n_statements++;
			push @bad, "$what of $model: $state $out $err" if $state ne '58030' || $out ne 't|6';
		}
	}
	is_deeply(\@bad, [], "a file under a running statement, $change: $n_statements statements end with 58030, the next ones are right");
}

# Between two rows that a cursor fetches, and in a loop that catches errors: one transaction, each time healed.
my $file = file_of('m');
my ($out, $state) = session("SET embed.cache_entries = 0;\nBEGIN;\nDECLARE c CURSOR FOR SELECT md5(embed('a text' || repeat(' ', i), 'm')::text) FROM generate_series(0, 9) i;\nFETCH c;\n"
	  . "\\! chmod u+w $file; truncate -s -1 $file\nFETCH c;\nROLLBACK;\nSELECT $hash;");
is($out, "$want{m}\n$want{m}", 'a change between two FETCHes');
is($state, '58030', '... is told at the second one');
query(
	$node, $db, q{
	CREATE FUNCTION damaged_again_and_again(command text, n int) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE n_errors int := 0; n_right int := 0; good text := md5(embed('a text', 'm')::text); n_maps int;
	BEGIN
		FOR i IN 1 .. n LOOP
			BEGIN
				PERFORM count(embed(run(j, command, i), 'm')) FROM generate_series(1, 3) j;
			EXCEPTION WHEN io_error THEN
				n_errors := n_errors + 1;
			END;
			n_right := n_right + (md5(embed('a text' || repeat(' ', i), 'm')::text) = good)::int;
		END LOOP;
		SELECT count(*) INTO n_maps FROM regexp_matches(pg_read_file('/proc/self/maps', 0, 10000000), 'pgsql_tmp_embed/[0-9]+/', 'g');
		RETURN n_errors || ' ' || n_right || ' ' || (n_maps <= 3);
	END $$});
$file = file_of('m');
is(query($node, $db, 'SET embed.cache_entries = 0; SELECT damaged_again_and_again(' . quote("f=\$(ls -t $file); chmod u+w \$f; truncate -s -1 \$f") . ', 40)'),
	'40 40 true', 'forty times in one transaction: an error each, right bits behind each, no mappings pile up');

# Damage that keeps size and time, met as nonsense rather than as zeros: the session itself has the file made again.
for my $skip (1147, 4096, 8192)
{
	my $file = file_of('s');
	my $n = (-s $file) - $skip;
	my $good = query($node, $db, q{SELECT md5(embed('some words', 's')::text)});
	my ($out, $state, $err) = session("SET embed.cache_entries = 0;\nSELECT 1 FROM embed('x', 's');\n\\! chmod u+w $file; touch -r $file $file.time; head -c $n /dev/urandom | dd of=$file bs=$skip seek=1 conv=notrunc status=none; touch -r $file.time $file; rm $file.time\n"
		  . "SELECT 1 FROM (SELECT embed('some words ' || i, 's') FROM generate_series(1, 50) i OFFSET 49) s;\nSELECT bool_and(ok) IS NULL FROM embed_verify('s');\nSELECT md5(embed('some words', 's')::text);");
	like($state, qr/^(?:58030)?(?: 58030)?$/, "random bytes from $skip on, with the old time: damage of the file or nothing is told");
	like($out, qr/\n$good$/, '... and the same session has the right bits soon');
}

# More images in one session than a segment of the table of mappings has places.
query($node, $db, 'SELECT embed_import(\'n\' || i, ' . quote(tiny_model('model2vec')) . ', jsonb_build_object(\'max_tokens\', i)) FROM generate_series(10, 149) i');
for my $model (qw(n10 n72 n73 n74 n149))
{
	my $n_file = file_of($model);
	my ($out, $state, $err) = session("SET embed.cache_entries = 0;\nSELECT count(embed('word', 'n' || i)) FROM generate_series(10, 149) i;\n"
		  . "SELECT count(embed(cut(i, '$n_file', '0', 3), '$model')) FROM generate_series(1, 30) i;\nSELECT count(embed('word', 'n' || i)) FROM generate_series(10, 149) i;");
	is("$out $state", "140\n140 58030", "140 images in one session, the file of $model is lost: 58030, and the session goes on");
}
query($node, $db, q{SELECT embed_drop('n' || i, forget => true) FROM generate_series(10, 149) i});
is(query($node, $db, 'SELECT pg_postmaster_start_time()'), $postmaster, 'no backend crashed');

# embed_verify reads everything, and says so.
$file = file_of('m');
($out, $state) = session("SELECT $hash;\n\\! chmod u+w $file; truncate -s 4096 $file\nSELECT bool_and(ok) FROM embed_verify('m');\nSELECT $hash;");
is($out, "$want{m}\nt\n$want{m}", 'embed_verify behind a cut file: made again at the next statement');

# An ERROR within a block: the outer statement goes on with the file made again.
query(
	$node, $db, q{
	CREATE FUNCTION survive(file text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE v float4[]; state text;
	BEGIN
		FOR i IN 1 .. 4 LOOP
			BEGIN
				v := embed(cut(i, file, '0', 3), 'm');
			EXCEPTION WHEN io_error THEN
				state := SQLSTATE;
			END;
		END LOOP;
		v := embed('a text', 'm');
		RETURN state || ' ' || md5(v::text);
	END $$});
is(query($node, $db, "SET embed.cache_entries = 0; SELECT survive('" . file_of('m') . "')"), "58030 $want{m}",
	'an exception block catches it, and the same transaction goes on with the right bits');

# Changes between two statements of a session, and for a new session.
for my $damage (
	[ 'a flipped bit', \&flip ],
	[ 'cut', sub { truncate $_[0], 100 or die } ],
	[ 'longer', sub { truncate $_[0], (-s $_[0]) + 1 or die } ],
	[ 'zeros', sub { my $n = -s $_[0]; truncate $_[0], 0; truncate $_[0], $n } ],
	[ 'deleted', sub { unlink $_[0] } ],
	[ 'replaced by a damaged copy', sub { my $d = slurp($_[0]); substr($d, length($d) / 2, 1) ^= "\x10"; unlink $_[0]; spit($_[0], $d) } ],
	[ 'replaced by a good copy', sub { my $d = slurp($_[0]); unlink $_[0]; spit($_[0], $d) } ])
{
	my ($what, $change) = @$damage;
	my $psql = start_psql($node, $db, "SET application_name = 'held'; SELECT $hash; SELECT pg_sleep(60) IS NULL; SELECT 'again', md5(embed('another text', 'm')::text);\n");
	$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE application_name = 'held' AND wait_event = 'PgSleep'})
	  or die 'the session never slept';
	change_file(file_of('m'), $change);
	my $other = query($node, $db, "SELECT $hash || ' ' || md5(embed('another text', 'm')::text)");
	my ($again) = $other =~ / (\w+)/;
	is($other, "$want{m} $again", "$what: a new session has the right bits");
	query($node, $db, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'held' AND wait_event = 'PgSleep'});
	my (undef, $held_out) = finish_psql($psql);
	like($held_out, qr/^$want{m}/, "$what: the old one had them before");
}

# The same in one session: psql goes on behind an error.
for my $damage ([ 'a flipped bit', 'flip' ], [ 'cut', 'cut' ], [ 'deleted', 'rm' ])
{
	my ($what, $how) = @$damage;
	my $file = file_of('m');
	my $command = $how eq 'cut' ? "chmod u+w $file; truncate -s 8192 $file"
	  : $how eq 'rm' ? "rm -f $file"
	  : "chmod u+w $file; printf x | dd of=$file bs=1 seek=" . int((-s $file) * 0.7) . " conv=notrunc status=none";
	my ($out, $state) = session("SET embed.cache_entries = 0;\nSELECT $hash;\n\\! $command\nSELECT $hash;\nSELECT $hash FROM generate_series(1, 2);");
	is($out, join("\n", ($want{m}) x 4), "$what between two statements of a session: the right bits");
	is($state, '', '... and no error');
	query($node, $db, "SELECT $hash");
	ok(-s file_of('m'), '... and a file');
}

# What no file system tells: bytes that changed and times that did not. Only a hash shows it.
change_file(file_of('m'), \&flip, 1);
is(query($node, $db, q{SELECT ok FROM embed_verify('m') WHERE "check" = 'image'}), 'f', 'silent damage: embed_verify finds it');
is(query($node, $db, q{SELECT bool_and(ok) FROM embed_verify('m')}), 't', '... and the file has been made again');
is(query($node, $db, "SELECT $hash"), $want{m}, '... with the right bits');
($out) = session("SELECT 1 FROM embed('x', 'm');\n\\! chmod u+w " . file_of('m') . "; touch -r " . file_of('m') . ' ' . $node->basedir
	  . "/time; printf x | dd of=" . file_of('m') . ' bs=1 seek=' . int((-s file_of('m')) * 0.7) . ' conv=notrunc status=none; touch -r '
	  . $node->basedir . '/time ' . file_of('m') . "\nSELECT bool_and(ok) FROM embed_verify('m');\nSELECT bool_and(ok) FROM embed_verify('m');\nSELECT $hash;");
is($out, "1\nf\nt\n$want{m}", 'silent damage under a session that has the file mapped: found, and made again');

# The tables themselves are damaged: told, not used.
query($node, $db, 'CREATE DATABASE damaged');
query($node, 'damaged', 'CREATE EXTENSION embed');
import_model($node, 'damaged', 'm', tiny_model('bert-mean-36'));
query($node, 'damaged', q{UPDATE _embed.chunk SET data = set_byte(data, 70000, get_byte(data, 70000) # 1) WHERE no = 0});
my ($damaged_file) = grep { m|/(\d+)/[^/]*$| && $1 == query($node, $db, q{SELECT oid FROM pg_database WHERE datname = 'damaged'}) } image_files($node);
unlink $damaged_file or die "$damaged_file: $!";
my ($damaged_state, $message) = error_of($node, 'damaged', q{SELECT embed('x', 'm');});
is($damaged_state, 'XX001', 'a damaged stored chunk');
like($message, qr/does not have the hash it was imported with/, '... is told');
is_deeply([ glob($node->data_dir . '/pgsql_tmp_embed/*/*.tmp') ], [], '... and leaves no file');

is(query($node, $db, 'SELECT pg_postmaster_start_time()'), $postmaster, 'no backend crashed');
done_testing();
