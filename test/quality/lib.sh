# lib.sh - what the quality tests share; sourced by bash.
set -u -o pipefail

LOSS=0.005
CONNINFO=${1:-dbname=${PGDATABASE:-postgres}}
SHARED=${EMBED_SHARED:-$(dirname "$0")/../../../shared}
N=0
FAILED=0

# ok CONDITION TITLE: a test of TAP; the condition is a command
ok()
{
	N=$((N + 1))
	if eval "$1"
	then
		echo "ok $N - $2"
	else
		echo "not ok $N - $2"
		FAILED=$((FAILED + 1))
	fi
}

# A skipped test, seen by who reads the terminal as well.
skip()
{
	N=$((N + 1))
	echo "ok $N # SKIP $1"
	echo "# SKIPPED: $1" >&2
}

# near A B TOLERANCE
near()
{
	awk -v a="${1:-9}" -v b="${2:--9}" -v t="$3" 'BEGIN { exit !(a >= b - t && a <= b + t) }'
}

# keeps TITLE FP32 INT8 [PRECISION]: what int8, or another precision, loses
keeps()
{
	ok "awk -v a='${3:-0}' -v b='${2:-9}' -v loss=$LOSS 'BEGIN { exit !(a >= b * (1 - loss)) }'" "$1: ${4:-int8} ${3:-none}, fp32 ${2:-none}"
}

percent()
{
	awk -v a="${1:-0}" -v b="${2:-0}" 'BEGIN { printf "%+.2f %%", (a > 0 ? 100 * (b / a - 1) : 0) }'
}

# row NAME NDCG_FP32 NDCG_INT8 RECALL_FP32 RECALL_INT8 SPEARMAN COSINE PEER: of the table
row()
{
	[ -z "${EMBED_QUALITY_TABLE:-}" ] ||
		echo "| $1 | $2 | $3 | $(percent "$2" "$3") | $4 | $5 | $(percent "$4" "$5") | $6 | $7 | $8 |" >>"$EMBED_QUALITY_TABLE"
}

need_data()
{
	if [ ! -f "$SHARED/quality/$1" ]
	then
		echo "1..0 # SKIP no reference data (EMBED_SHARED): $2 is not measured"
		echo "# SKIPPED: no reference data (EMBED_SHARED): $2 is not measured" >&2
		exit 0
	fi
}

finish()
{
	echo "1..$N"
	[ $FAILED -eq 0 ]
	exit
}
