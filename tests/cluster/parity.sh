#!/usr/bin/env bash
# What docs/parity.md says that a cluster shows, against what the suite saw in one:
# fails, and names it, where a case did not run, failed or was skipped.
#
#   parity.sh JUNIT [DOCUMENT [yes|no]]
#
# DOCUMENT is docs/parity.md, from the root of the checkout; `yes` takes what it
# says of the full profile, else what it says of a cluster as any.
set -euo pipefail
shopt -s inherit_errexit
junit=$1
document=${2:-docs/parity.md}
mark=''
[ "${3:-no}" = no ] || mark='e2e: '

fail() { echo "parity: $1" >&2; exit 1; }

[ -s "$junit" ] || fail "there is no JUnit in $junit"
# Names alone are of the suite, and so with `e2e`; those of other tests have the name of their program before them.
names=$(sed -nE '/^\| [A-Z][0-9]+ \|/p' "$document" | grep -oE "\`${mark}[a-z_]+::[a-z0-9_]+\`" | sed "s/^.${mark}//; s/.\$//" | sort -u) ||
    fail "$document names no case of the suite"

# SUBJECT::SENTENCE passed|failed|skipped, as tests/integration/src/junit.rs writes them.
outcomes=$(awk '
    /<testcase / {
        match($0, / classname="[^"]*"/); subject = substr($0, RSTART + 12, RLENGTH - 13)
        match($0, / name="[^"]*"/); sentence = substr($0, RSTART + 7, RLENGTH - 8)
        if ($0 ~ /\/>$/) print subject "::" sentence, "passed"
    }
    /<failure / { print subject "::" sentence, "failed" }
    /<skipped / { print subject "::" sentence, "skipped" }
' "$junit")

verdict=0 count=0
for name in $names; do
    count=$((count + 1))
    outcome=$(awk -v name="$name" '$1 == name { print $2; exit }' <<<"$outcomes")
    if [ "$outcome" != passed ]; then
        echo "parity: $document counts on $name, which is ${outcome:-absent} in $junit" >&2
        verdict=1
    fi
done
[ "$verdict" != 0 ] || echo "parity: the $count cases that $document names have passed"
exit "$verdict"
