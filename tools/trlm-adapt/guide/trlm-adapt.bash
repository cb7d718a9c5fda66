# bash completion for trlm-adapt. Written by tools/guide.

_trlm_adapt() {
    local commands='validate inspect apply revert convert digest verify bundle replay diff merge compose-check explain limits version'
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' each options='' words='' files=''
    # bash makes three words of --option=value.
    [[ $word != = ]] || word=''
    [[ $before != = ]] || before=${COMP_WORDS[COMP_CWORD - 2]}
    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ " $commands " == *" $each "* ]]; then
            command=$each
            break
        fi
    done

    case $before in
        --color)
            words='auto always never'
            ;;
        --rounding)
            words='adaptive: stochastic: nearest'
            ;;
        --output-dtype)
            words='keep q8_0 f32'
            ;;
        --dtype)
            words='f32 q8_0 q4_0'
            ;;
        --kind)
            words='adp1 asp1 alr1'
            ;;
        --vectors)
            words='dense skip error'
            ;;
        --method)
            words='sum ties'
            ;;
        --model | -o | --output | --receipt | --undo | --base | --target | --root)
            files=yes
            ;;
        --threads | --strength | --min-survival | --entry | --registry-digest | --density | --top-k | --threshold | --drop | --seed | --rank | --energy)
            :
            ;;
        *)
            case $command in
                '')
                    options='-h --help --json --quiet --color --version'
                    words=$commands
                    ;;
                validate)
                    options='--model --threads --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                inspect)
                    options='--stats --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                apply)
                    options='-o --output --force --dry-run --strength --rounding --output-dtype --min-survival --allow-no-effect --receipt --undo --threads --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                revert)
                    options='--undo -o --output --force -h --help --json --quiet --color'
                    files=yes
                    ;;
                convert)
                    options='-o --output --force --dtype --base --target --rounding --threads --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                digest)
                    options='-h --help --json --quiet --color'
                    files=yes
                    ;;
                verify)
                    options='--entry --registry-digest --allow-weak-digests --threads --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                bundle)
                    options='-o --output --threads --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    words='create'
                    files=yes
                    ;;
                replay)
                    options='--root --allow-weak-digests --threads --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                diff)
                    options='-o --output --kind --force --target --rounding --threads --density --top-k --global --threshold --drop --seed --rescale --rank --energy --vectors --accept-foreign-checksum --strict -h --help --json --quiet --color'
                    files=yes
                    ;;
                merge)
                    options='-o --output --force --method --density --strength -h --help --json --quiet --color'
                    files=yes
                    ;;
                compose-check)
                    options='-h --help --json --quiet --color'
                    files=yes
                    ;;
                explain)
                    options='-h --help --json --quiet --color'
                    words='truncated trailing_bytes bad_magic bad_header_length reserved_not_zero bad_value offset_not_canonical range_out_of_file misaligned overlap hole padding_not_zero size_overflow length_mismatch limit_exceeded bad_rank bad_dim bad_block_size bad_scale non_finite duplicate_tensor missing_tensor unexpected_tensor shape_mismatch directory_not_sorted tokenizer_malformed count_mismatch index_out_of_range index_not_ascending mask_bits_past_end retention_mismatch bad_low_rank bad_metadata bad_json duplicate_key unknown_key missing_key path_escape path_collision duplicate_id dependency_unknown dependency_cycle phase_order slot_conflict unplanned_file unused_module bad_view checksum_mismatch payload_checksum_mismatch mask_checksum_mismatch digest_mismatch size_mismatch value_drift link_mismatch ledger_broken replay_differs undo_stale flags_differ tensor_count_differs parameter_count_differs layout_differs tokenizer_differs tensor_unknown tensor_shape_differs fused_non_finite base_not_listed budget_exceeded survival_below_threshold zero_effect not_admitted weak_digest eval_failed strength_out_of_range already_applied unlisted_file file_missing file_unreadable checksum_unverifiable unsupported_version unsupported_dtype schema_unsupported unsupported_source output_failed out_of_memory executor_failed usage_error'
                    ;;
                limits)
                    options='-h --help --json --quiet --color'
                    ;;
                version)
                    options='-h --help --json --quiet --color'
                    ;;
            esac
            if [[ $word == -* ]]; then
                words=$options
                files=''
            fi
            ;;
    esac
    # shellcheck disable=SC2207  # none of the words holds a space
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ -n $files ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
        compopt -o filenames 2>/dev/null
    fi
    # A word that ends in ":" goes on.
    [[ ${COMPREPLY[0]-} != *: ]] || compopt -o nospace 2>/dev/null
    return 0
}

complete -F _trlm_adapt trlm-adapt
