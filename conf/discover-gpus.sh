#!/usr/bin/env bash
# Prints the GPUs of one generation as Spark's resource discovery wants them:
#   discover-gpus.sh hopper      {"name": "gpu-hopper", "addresses": ["0","1"]}
#   discover-gpus.sh --one-name  {"name": "gpu", "addresses": ["hopper-0","volta-1"]}
# Spark runs discovery scripts without arguments, so the generation may also come from the name this
# script is called by, and --one-name from discover-gpu.sh:
#   ln -s discover-gpus.sh discover-gpu-hopper.sh
#   spark.worker.resource.gpu-hopper.discoveryScript  /path/to/conf/discover-gpu-hopper.sh
# Generations are read from gpus.json beside this script: add a compute capability there.
# HETERMOE_EMULATED_GPUS=hopper:1,volta:1 pretends to have those. GPUs are counted as nvidia-smi
# does.
set -euo pipefail

fail() { echo "discover-gpus.sh: $*" >&2; exit 1; }

called=$(basename "$0")
here=$(dirname "$(readlink -f "$0")")
catalogue="$here/gpus.json"
[ -r "$catalogue" ] || fail "no GPU catalogue at $catalogue"

want=${1:-}
if [ -z "$want" ] && [[ "$called" =~ ^discover-gpu-([a-z0-9]+)(\.sh)?$ ]]; then
  want=${BASH_REMATCH[1]}
elif [ -z "$want" ] && [[ "$called" =~ ^discover-gpu(\.sh)?$ ]]; then
  want=--one-name
fi
[ -n "$want" ] || fail "say which generation, or --one-name, or call me discover-gpu-<generation>.sh or discover-gpu.sh"

# Lines "capability generation" from the catalogue, which has one generation a line.
known=$(sed -n 's/.*"name": "\([a-z0-9]*\)", "computeCapabilities": \[\([^]]*\)\].*/\1 \2/p' "$catalogue" |
  tr -d '",' | awk '{for (i = 2; i <= NF; i++) print $i, $1}')
[ -n "$known" ] || fail "$catalogue lists no generations"
[ "$want" = --one-name ] || grep -q " $want\$" <<< "$known" ||
  fail "unknown generation '$want'; known: $(awk '{print $2}' <<< "$known" | uniq | xargs)"

# Lines "index generation".
if [ -n "${HETERMOE_EMULATED_GPUS:-}" ]; then
  found=$(tr ',' '\n' <<< "$HETERMOE_EMULATED_GPUS" |
    awk -F: '{for (i = 0; i < $2; i++) print n++, $1}')
else
  command -v nvidia-smi > /dev/null || fail "nvidia-smi is not on the PATH"
  gpus=$(nvidia-smi --query-gpu=index,compute_cap --format=csv,noheader,nounits | tr -d ' ')
  found=""
  while IFS=, read -r index capability; do
    generation=$(awk -v c="$capability" '$1 == c {print $2}' <<< "$known")
    if [ -z "$generation" ]; then
      echo "discover-gpus.sh: GPU $index is left out: it has compute capability $capability, which" \
        "$catalogue does not know; add it there" >&2
      continue
    fi
    found+="$index $generation"$'\n'
  done <<< "$gpus"
fi

if [ "$want" = --one-name ]; then
  name=gpu
  addresses=$(awk 'NF == 2 {printf "%s\"%s-%s\"", sep, $2, $1; sep = ","}' <<< "$found")
else
  name=gpu-$want
  addresses=$(awk -v g="$want" '$2 == g {printf "%s\"%s\"", sep, $1; sep = ","}' <<< "$found")
  [ -n "$addresses" ] || fail "no $want GPU here; found: $(awk 'NF == 2 {print $2}' <<< "$found" | xargs)"
fi
echo "{\"name\": \"$name\", \"addresses\": [$addresses]}"
