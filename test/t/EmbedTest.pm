# EmbedTest.pm - what the TAP tests of embed share.
#
#	use EmbedTest;
#	my $node = new_node('main');			running, extension installed in postgres
#	import_model($node, 'postgres', 'tiny', tiny_model('bert-cls'));
#
# EMBED_TEST_DATA: test/data; EMBED_SHARED: reference data, EMBED_MODEL_DIR: a
# directory of all-MiniLM-L6-v2, EMBED_MODELS: a folder of more real models;
# what needs one that is absent is skipped, loudly.
package EmbedTest;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename;
use IO::Handle;
use IPC::Run;
use JSON::PP;
use Test::More;

our @EXPORT = qw(new_node plain_tokenizer test_data shared_dir real_model models_dir tiny_model tiny_names slurp spit
  static_model import_model query computed error_of image_files read_jsonl read_npy load_table quote
  keep_transcript skip_loudly waited_for_cpu answer_of answer_comes start_psql finish_psql kill_server wait_for_server drop_database max_difference installed_rows);

# Servers 13 and 14 ship these modules under older names.
our $cluster_class;
BEGIN
{
	$cluster_class = eval { require PostgreSQL::Test::Cluster; 'PostgreSQL::Test::Cluster' }
	  || do { require PostgresNode; 'PostgresNode' };
}

sub new_node
{
	my ($name, %options) = @_;
	my $conf = delete $options{conf} // '';
	my $node = $cluster_class->can('get_new_node') ? $cluster_class->get_new_node($name) : $cluster_class->new($name);

	$node->init(extra => [ '-E', 'UTF8', '--no-locale' ], %options);
	$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\n$conf");
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION embed');
	return $node;
}

sub test_data
{
	return $ENV{EMBED_TEST_DATA} // abs_path(dirname(__FILE__) . '/../data');
}

sub shared_dir
{
	my $dir = $ENV{EMBED_SHARED} // dirname(__FILE__) . '/../../../shared';
	return -d "$dir/goldens" ? abs_path($dir) : undef;
}

sub real_model
{
	my $dir = $ENV{EMBED_MODEL_DIR} // '';
	return $dir ne '' && -f "$dir/config.json" ? $dir : undef;
}

sub models_dir
{
	my $dir = $ENV{EMBED_MODELS} // '';
	return $dir ne '' && -d $dir ? $dir : undef;
}

sub tiny_model
{
	my ($name) = @_;
	return test_data() . "/tiny/$name/model";
}

# Those that embed.
sub tiny_names
{
	return map { basename($_) } grep { -f "$_/embeddings.npy" } sort glob(test_data() . '/tiny/{bert-*,model2vec}');
}

# One skipped test, said on the terminal as well.
sub skip_loudly
{
	my ($why, $count) = @_;
	diag("SKIPPED: $why");
  SKIP: { skip $why, $count // 1; }
	return;
}

sub slurp
{
	my ($path) = @_;
	open my $in, '<:raw', $path or die "$path: $!";
	local $/;
	my $data = <$in>;
	close $in;
	return $data;
}

sub spit
{
	my ($path, $data) = @_;
	open my $out, '>:raw', $path or die "$path: $!";
	print $out $data or die "$path: $!";
	close $out or die "$path: $!";
	return;
}

# Text as an SQL literal; bytes of UTF-8 stay bytes.
sub quote
{
	my ($text) = @_;
	$text =~ s/'/''/g;
	$text =~ s/\\/\\\\/g;
	return " E'$text'";
}

# Writes the tiny static model with other, random rows: as many and of as many dimensions as a test needs.
sub static_model
{
	my ($dir, $n_rows, $dim) = @_;
	my $header = sprintf '{"embeddings":{"dtype":"F32","shape":[%d,%d],"data_offsets":[0,%d]}}', $n_rows, $dim, 4 * $n_rows * $dim;

	mkdir $dir or die "$dir: $!";
	spit("$dir/$_", slurp(tiny_model('model2vec') . "/$_")) for qw(tokenizer.json modules.json);
	spit("$dir/config.json", slurp(tiny_model('model2vec') . '/config.json') =~ s/("(?:hidden_dim|apply_pca)": )\d+/$1$dim/gr);
	srand 12;
	spit("$dir/model.safetensors", join '', pack('Q<', length $header), $header, map { pack('f<*', map { rand() - 0.5 } 1 .. $dim) } 1 .. $n_rows);
	return $dir;
}

# A copy of a model's directory in which nothing but tokenizer.json counts:
# reference ids of the library tokenizers know no class of transformers, whose
# XLMRobertaTokenizer drops white space at the end of a text.
sub plain_tokenizer
{
	my ($node, $dir) = @_;
	my $copy = $node->basedir . '/plain-' . ($dir =~ s{[^A-Za-z0-9]+}{-}gr);

	if (!-d $copy)
	{
		system('cp', '-rL', '--no-preserve=mode', $dir, $copy) == 0 or die "cp $dir";
		# it may be read-only
		unlink "$copy/tokenizer_config.json";
		spit("$copy/tokenizer_config.json", slurp("$dir/tokenizer_config.json") =~ s/XLMRobertaTokenizer/PreTrainedTokenizerFast/r);
	}
	return $copy;
}

sub import_model
{
	my ($node, $db, $name, $path, $options) = @_;
	return $node->safe_psql($db,
		'SELECT embed_import(' . quote($name) . ',' . quote($path) . ',' . quote($options // '{}') . ')');
}

# What query and error_of ask and get from now on goes to a file, too, with \x1e behind each answer: runs can be compared.
my $transcript;
sub keep_transcript
{
	my ($path) = @_;

	open $transcript, '>:raw', $path or die "$path: $!";
	$transcript->autoflush(1);
	return;
}

sub note_answer
{
	my ($sql, $answer) = @_;

	print $transcript "$sql\n=> $answer\n\x1e" if defined $transcript;
	return $answer;
}

# The result of the last statement of $sql, which must not fail.
sub query
{
	my ($node, $db, $sql) = @_;
	return note_answer($sql, $node->safe_psql($db, $sql));
}

# Texts (pairs) that $sql has computed, of all models: a computation for nothing shows.
sub computed
{
	my ($node, $db, $sql) = @_;
	query($node, $db, 'SELECT embed_stat_reset()');
	query($node, $db, $sql);
	return query($node, $db, 'SELECT sum(n) FROM (SELECT DISTINCT fingerprint, texts - cache_hits AS n FROM embed_stat) s');
}

# (SQLSTATE, message with detail and hint) of the first error of $sql; ('', '') when there is none.
sub error_of
{
	my ($node, $db, $sql, %options) = @_;
	my ($out, $err) = ('', '');

	$node->psql($db, "\\set VERBOSITY verbose\n$sql", stdout => \$out, stderr => \$err, on_error_stop => 1, %options);
	note_answer($sql, "$out$err");
	return ($1, $err) if $err =~ /(?:ERROR|FATAL):\s+(\w{5}):/;
	return ('?', $err) if $err =~ /ERROR|FATAL|server closed/;
	return ('', '');
}

# Paths of the materialized images of a cluster.
sub image_files
{
	my ($node) = @_;
	my @files = sort glob($node->data_dir . '/pgsql_tmp_embed/*/*.img');

	return @files;
}

# Rows in the tables of _embed: nothing half-installed.
sub installed_rows
{
	my ($node, $db) = @_;
	return $node->safe_psql($db,
		'SELECT (SELECT count(*) FROM _embed.model) + (SELECT count(*) FROM _embed.image)'
		  . ' + (SELECT count(*) FROM _embed.chunk) + (SELECT count(*) FROM _embed.alias)'
		  . ' + (SELECT count(*) FROM _embed.default_model)');
}

# Lines of a .jsonl or .jsonl.gz; strings come as bytes of UTF-8.
sub read_jsonl
{
	my ($path) = @_;
	my $data;

	if ($path =~ /\.gz$/)
	{
		require IO::Uncompress::Gunzip;
		IO::Uncompress::Gunzip::gunzip($path => \$data) or die "$path: cannot unpack";
	}
	else
	{
		$data = slurp($path);
	}
	my $json = JSON::PP->new->utf8;
	my @rows = map { $json->decode($_) } grep { /\S/ } split /\n/, $data;
	for my $row (@rows)
	{
		for my $key (qw(text a b query doc))
		{
			utf8::encode($row->{$key}) if defined $row->{$key};
		}
	}
	return @rows;
}

# Rows of a two-dimensional float32 .npy as array references.
sub read_npy
{
	my ($path) = @_;
	my $data = slurp($path);

	die "$path: not a .npy of version 1" unless substr($data, 0, 8) eq "\x93NUMPY\x01\x00";
	my $length = unpack 'v', substr($data, 8, 2);
	my $header = substr($data, 10, $length);
	my ($n, $dim) = $header =~ /'<f4'.*'shape': \((\d+), (\d+)\)/ or die "$path: header $header";
	my @values = unpack 'f<*', substr($data, 10 + $length);
	die "$path: size" unless @values == $n * $dim;
	return map { [ splice @values, 0, $dim ] } 1 .. $n;
}

# CREATE TABLE $table ($columns) filled with @rows by COPY; arrays become {...}.
sub load_table
{
	my ($node, $db, $table, $columns, @rows) = @_;
	my $sql = "CREATE TABLE $table ($columns);\nCOPY $table FROM STDIN;\n";

	for my $row (@rows)
	{
		$sql .= join(
			"\t",
			map {
				my $value = ref $_ ? '{' . join(',', map { ref $_ ? die 'nested' : $_ } @$_) . '}' : $_;
				$value =~ s/\\/\\\\/g;
				$value =~ s/\t/\\t/g;
				$value =~ s/\n/\\n/g;
				$value =~ s/\r/\\r/g;
				$value;
			} @$row) . "\n";
	}
	my $dir = $node->basedir;
	spit("$dir/$table.sql", "$sql\\.\n");
	$node->command_ok(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', "$dir/$table.sql" ],
		"table $table of " . scalar(@rows) . ' rows');
	return;
}

sub max_difference
{
	my ($a, $b) = @_;
	my $max = 0;

	return 'lengths ' . @$a . ' and ' . @$b if @$a != @$b;
	for my $i (0 .. $#$a)
	{
		my $d = abs($a->[$i] - $b->[$i]);
		$max = $d if !($d <= $max);
	}
	return $max;
}

# kill -9 of the postmaster; returns once its backends have seen that, so that it can be started again.
sub kill_server
{
	my ($node) = @_;
	my $pid_file = $node->data_dir . '/postmaster.pid';
	my ($postmaster, $socket_dir, $port) = (split /\n/, slurp($pid_file))[ 0, 4, 3 ];
	my @children;

	# stopped: it starts no child that nobody waits for
	kill 'STOP', $postmaster;
	@children = split ' ', slurp("/proc/$postmaster/task/$postmaster/children");
	kill 'KILL', $postmaster;
	for (1 .. 1000)
	{
		# a zombie has left the shared memory; without a command line it may still be about to
		last unless grep { (eval { slurp("/proc/$_/stat") } // ') X') !~ /\) [ZX]/ } $postmaster, @children;
		select undef, undef, undef, 0.01;
	}
	# a new postmaster takes a zombie's pid for a living one's
	unlink $pid_file, "$socket_dir/.s.PGSQL.$port.lock";
	$node->{_pid} = undef;
	return;
}

# Until it answers again behind a crash. Not by ->psql: IPC::Run dies when it writes to a psql that cannot connect.
# With the log's size before a backend was killed: not before the server has noticed that, when it may still answer.
sub wait_for_server
{
	my ($node, $db, $log_size) = @_;

	for (1 .. 1200)
	{
		last if !defined $log_size || substr(slurp($node->logfile), $log_size) =~ /was terminated by signal 9/;
		select undef, undef, undef, 0.05;
	}
	for (1 .. 1200)
	{
		my ($out, $err) = ('', '');
		return if IPC::Run::run([ 'psql', '-X', '-A', '-t', '-d', $node->connstr($db), '-c', 'SELECT 1' ], '<' => \undef, '>' => \$out, '2>' => \$err);
		select undef, undef, undef, 0.05;
	}
	die 'the server does not come back';
}

# The result of $sql, which may fail: then it is empty. Not by ->psql, which dies where nobody can connect (wait_for_server).
sub answer_of
{
	my ($node, $db, $sql) = @_;
	my $file = $node->basedir . '/answer_of.sql';
	my ($out, $err) = ('', '');

	spit($file, $sql);
	IPC::Run::run([ 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', $file ], '<' => \undef, '>' => \$out, '2>' => \$err);
	chomp $out;
	return $out;
}

# The server waits five seconds for a filler to leave the database: on a busy machine that may be too short.
sub drop_database
{
	my ($node, $db, $name) = @_;
	my ($state, $message) = ('55006', '');

	for (my $until = time + 180; time < $until && $state eq '55006';)
	{
		($state, $message) = error_of($node, $db, "DROP DATABASE $name");
	}
	die $message if $state ne '';
	return;
}

# Asks until the answer comes, which is the test.
sub answer_comes
{
	my ($node, $db, $sql, $answer, $name) = @_;
	my $out = '';

	for (my $until = time + 180; time < $until; select undef, undef, undef, 0.02)
	{
		$out = answer_of($node, $db, $sql);
		last if $out eq $answer;
	}
	is($out, $answer, $name);
	return;
}

# In SQL, for a superuser: seconds that the backend's threads waited for a CPU, where the kernel counts them.
sub waited_for_cpu
{
	return '0.0' unless -r '/proc/self/schedstat';
	return q{(SELECT sum(split_part(pg_read_file('/proc/self/task/' || d || '/schedstat', 0, 100), ' ', 2)::numeric) / 1e9 FROM pg_ls_dir('/proc/self/task') d)};
}

# A psql that runs beside the test; finish_psql waits and gives (status, stdout, stderr).
my $n_psqls = 0;
sub start_psql
{
	my ($node, $db, $sql) = @_;
	my %psql = (out => '', err => '');
	my $file = $node->basedir . '/psql' . $n_psqls++ . '.sql';

	# a file: IPC::Run feeds a pipe only while someone waits
	spit($file, $sql);
	$psql{handle} = IPC::Run::start(
		[ 'psql', '-X', '-A', '-t', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', $file ],
		'<' => \undef, '>' => \$psql{out}, '2>' => \$psql{err});
	return \%psql;
}

sub finish_psql
{
	my ($psql) = @_;

	$psql->{handle}->finish;
	chomp $psql->{out};
	return ($psql->{handle}->result(0), $psql->{out}, $psql->{err});
}

1;
