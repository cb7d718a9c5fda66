#!/bin/sh
# Verifies a bundle in continuous integration: prints the report, keeps it as JSON, and ends with the
# exit code of trlm-adapt (0 ok, 3 drift, 1 invalid, 4 incompatible, 6 policy, 5 cannot check, 2 usage).
#
# usage: verify-bundle.sh [-d DIGEST] [-s] [-r REPORT] BUNDLE
#   -d DIGEST   the digest that the registry must have: sha256:...; get it on another way than the bundle
#   -s          strict: a file that nothing in the bundle names is an error
#   -r REPORT   where the JSON report goes; bundle-report.json without it
#
# The tool is $TRLM_ADAPT, or trlm-adapt from the PATH.
set -u

usage() {
    sed -n 's/^# \{0,1\}//; 4,8p' "$0" >&2
    exit 2
}

tool=${TRLM_ADAPT:-trlm-adapt}
digest=
report='bundle-report.json'
strict=
while getopts d:r:s option; do
    case $option in
        d) digest=$OPTARG ;;
        r) report=$OPTARG ;;
        s) strict=yes ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage
bundle=$1

if ! command -v "$tool" >/dev/null; then
    echo "verify-bundle.sh: there is no $tool; install trlm-adapt, or name it in TRLM_ADAPT" >&2
    exit 5
fi

set -- verify
[ -z "$digest" ] || set -- "$@" --registry-digest "$digest"
[ -z "$strict" ] || set -- "$@" --strict

if ! (: >"$report"); then
    echo "verify-bundle.sh: the report cannot be written: $report" >&2
    exit 5
fi
"$tool" "$@" --json -- "$bundle" >"$report"
kept=$?
"$tool" "$@" -- "$bundle"
shown=$?
if [ "$kept" -ne "$shown" ]; then
    echo "verify-bundle.sh: two runs disagree ($kept, $shown): the bundle changed meanwhile" >&2
    exit 3
fi
echo "report: $report" >&2
exit "$shown"
