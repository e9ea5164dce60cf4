# What an administrator may find in the place of our files: files that cannot be
# opened, folders, FIFOs, links. Calls work all the same and the log says what
# happened. Then the extension dropped, and created again, by another session:
# errors that say so, and no reconnect.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use EmbedTest;
use Socket;
use Test::More;

my $db = 'postgres';
my $node = new_node('way');
my $hash = q{SELECT md5(embed('a text', 'm')::text)};

import_model($node, $db, 'm', tiny_model('bert-mean-36'));
my $want = query($node, $db, $hash);
my $root = $node->data_dir . '/pgsql_tmp_embed';
my ($image) = image_files($node);
my ($folder) = $image =~ m|^(.*)/|;
my $fingerprint = query($node, $db, q{SELECT fingerprint FROM embed_models});
my $postmaster = query($node, $db, 'SELECT pg_postmaster_start_time()');

sub make_socket
{
	my ($path) = @_;

	# names of sockets are short
	chdir $folder or die;
	my $socket;
	socket($socket, PF_UNIX, SOCK_STREAM, 0) && bind($socket, sockaddr_un('s')) or die "socket: $!";
	rename 's', $path or die;
	chdir '/';
	return;
}

# What stands there => how it is put there.
my %obstacle = (
	'a file without rights' => sub { spit($_[0], 'x'); chmod 0, $_[0] },
	'a file of other bytes' => sub { spit($_[0], 'x' x 4096) },
	'an empty folder' => sub { mkdir $_[0] },
	'a folder with something in it' => sub { mkdir $_[0]; spit("$_[0]/precious", 'mine') },
	'a folder without rights' => sub { mkdir $_[0], 0 },
	'a FIFO' => sub { system('mkfifo', $_[0]) },
	'a socket' => \&make_socket,
	'a link that leads nowhere' => sub { symlink '/nonexistent/x', $_[0] },
	'a link to itself' => sub { symlink $_[0], $_[0] },
	'a link to a folder' => sub { symlink '/tmp', $_[0] });

sub remove
{
	my ($path) = @_;

	chmod 0700, $path unless -l $path;
	system('rm', '-rf', $path);
	return;
}

for my $what (sort keys %obstacle)
{
	remove($image);
	$obstacle{$what}->($image);
	my ($state, $message) = error_of($node, $db, "SET statement_timeout = '20s'; SELECT * FROM embed_memory; $hash; SELECT * FROM embed_memory;");
	is("$state$message", '', "$what in the place of an image file: no error");
	is(query($node, $db, $hash), $want, '... the right bits');
	ok(-f $image && !-l $image && -s $image > 10000, '... and a file again');
	is_deeply([ grep { !/\.moved\./ } glob("$folder/*") ], [$image], '... nothing else left');

	remove($image);
	remove("$root/lock");
	$obstacle{$what}->("$root/lock");
	($state, $message) = error_of($node, $db, "$hash; SELECT length(embed_import('x'," . quote(tiny_model('bert-cls')) . q{)); SELECT embed_drop('x', true);});
	is("$state$message", '', "$what in the place of the lock: no error");

	remove("$root/control.v3");
	$obstacle{$what}->("$root/control.v3");
	($state, $message) = error_of($node, $db, "$hash;");
	is("$state$message", '', "$what in the place of the control file: no error");
	remove("$root/control.v3");
}
my @moved = glob("$folder/*.moved.*");
is(scalar(grep { -f "$_/precious" } @moved), 1, 'a folder with something in it was moved away and kept');
like(slurp($node->logfile), qr/LOG:  could not open file "pgsql_tmp_embed.*\.img" of a model image: Permission denied/, 'the log says what could not be opened');
like(slurp($node->logfile), qr/LOG:  moved directory "pgsql_tmp_embed.*" to /, '... and what was moved');
system('rm', '-rf', @moved, glob("$root/*.moved.*"));

for my $path ($folder, $root)
{
	system('rm', '-rf', $path);
	spit($path, 'x');
	my ($state, $message) = error_of($node, $db, "$hash;");
	is("$state$message", '', 'a file in the place of ' . ($path eq $root ? 'our folder' : "the database's folder") . ': no error');
	is(query($node, $db, $hash), $want, '... the right bits');
}

# A folder that may not be written to: the hint says what to do.
unlink $image;
chmod 0500, $folder;
if (open my $probe, '>', "$folder/probe")
{
	close $probe;
	unlink "$folder/probe";
	skip_loudly('a read-only directory stops nobody here (root)');
}
else
{
	my ($state, $message) = error_of($node, $db, "$hash;");
	is($state, '42501', 'a folder without the right to write');
	like($message, qr/HINT:  .*pgsql_tmp_embed.*is a cache/, '... the hint says that it may go');
}
chmod 0700, $folder;
is(query($node, $db, $hash), $want, '... and written again');

# ------------------------------------- the extension dropped elsewhere

my $psql = 'psql -X -q -v ON_ERROR_STOP=1 -d ' . "'" . $node->connstr('dropped') . "'";
my $drop = "\\! $psql -c 'SET client_min_messages = error; DROP EXTENSION embed CASCADE'\n";
my $create = "\\! $psql -c 'CREATE EXTENSION embed' -c \"SELECT 1 FROM embed_import('m', '" . tiny_model('bert-mean-36') . "')\" >/dev/null\n";
my $plpgsql = 'CREATE FUNCTION f(t text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN md5(embed(t, \'m\')::text); END $$;';

# Statements behind a drop, per way to call: the SQLSTATEs of one session, and what it has got.
my %way = (
	'plain statements' => [ '', q{SELECT md5(embed('a text', 'm')::text);} ],
	'the default model' => [ '', q{SELECT md5(embed('a text')::text);} ],
	'a prepared statement' => [ q{PREPARE p(text) AS SELECT md5(embed($1, 'm')::text);}, q{EXECUTE p('a text');} ],
	'PL/pgSQL' => [ $plpgsql, q{SELECT f('a text');} ],
	'embed_tokens' => [ '', q{SELECT CASE WHEN cardinality(embed_tokens('a text', 'm')) > 2 THEN '} . $want . q{' END;} ],
	'embed_verify' => [ '', q{SELECT CASE WHEN bool_and(ok) THEN '} . $want . q{' END FROM embed_verify('m');} ]);
query($node, $db, 'CREATE DATABASE dropped');
for my $name (sort keys %way)
{
	my ($prepare, $call) = @{ $way{$name} };
	my $script = "\\set VERBOSITY verbose\nSET embed.cache_entries = 0;\n$create$prepare\n$call\n"
	  # within a transaction: the caches of the session do not know yet
	  . "BEGIN;\n$call\n$drop$call\nROLLBACK;\n$call\n$create$call\n"
	  # nothing called at all between drop and commit
	  . "BEGIN;\n$call\n${drop}COMMIT;\nSELECT 'committed';\n$create$call\n$drop";
	my ($out, $err) = ('', '');

	$node->psql('dropped', $script, stdout => \$out, stderr => \$err, on_error_stop => 0);
	my @states = $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/g;
	is(join(' ', grep { !/^42(?:P01|883)$/ } @states), '', "$name: an extension that is dropped elsewhere is an undefined table or function") or diag($err);
	# what a transaction has resolved may serve it to its end
	my @right = grep { $_ eq $want } split /\n/, $out;
	is(@right + @states, 7, '... or the right bits');
	cmp_ok(scalar(@states), '>=', 1, '... once a transaction is over an error');
	like($out, qr/^(?:$want\n){4,5}committed\n$want$/, '... and works again without a reconnect');
	unlike($err, qr/could not open relation/, '... with no message of the innards');
	like($err, qr/HINT:  Run CREATE EXTENSION embed in this database/, '... and says what to do') if grep { $_ eq '42P01' } @states;
}

# Drops and creations under sessions that call all the time.
query(
	$node, 'dropped', q{
	CREATE FUNCTION hammer(seconds float8) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE states text[] := '{}'; until timestamptz := clock_timestamp() + seconds * interval '1 second'; n int := 0;
	BEGIN
		WHILE clock_timestamp() < until LOOP
			BEGIN
				EXECUTE 'SELECT embed($1, ''m'')' USING 'text ' || n;
				n := n + 1;
			EXCEPTION WHEN OTHERS THEN
				IF NOT SQLSTATE || ' ' || SQLERRM = ANY (states) THEN
					states := states || (SQLSTATE || ' ' || SQLERRM);
				END IF;
			END;
		END LOOP;
		RETURN array_to_string(states, E'\n');
	END $$});
my @hammers = map { start_psql($node, 'dropped', "SELECT hammer(6);\n") } 1 .. 2;
for (1 .. 6)
{
	query($node, 'dropped', 'CREATE EXTENSION IF NOT EXISTS embed');
	import_model($node, 'dropped', 'm', tiny_model('bert-mean-36'));
	query($node, 'dropped', q{SELECT embed('x', 'm')});
	query($node, 'dropped', 'DROP EXTENSION embed');
}
for (@hammers)
{
	my (undef, $out, $err) = finish_psql($_);

	# what is the server's own: a function that vanishes between planning and execution
	is(join("\n", grep { !/^42(?:P01|883|704) / && !/cache lookup failed for function/ } split /\n/, "$out$err"), '',
		'drops and creations under a session that calls: no other errors');
}
is(query($node, $db, 'SELECT pg_postmaster_start_time()'), $postmaster, 'nothing crashed');
done_testing();
