#compdef trlm-adapt
# zsh completion for trlm-adapt. Written by tools/guide.

_trlm_adapt() {
    local curcontext=$curcontext state line
    local -a commands=(
        'validate:Check every byte of models, adapter packages and undo files'
        'inspect:Show what is in a model, an adapter package or an undo file'
        'apply:Apply adapters to a model and write a new model'
        'revert:Turn an adapted model back into its base, bit for bit'
        'convert:Make a model or an adapter of files in other forms'
        'digest:Print the SHA-256 of files'
        'verify:Take a bundle through the twelve gates'
        'bundle:Make a bundle from a recipe'
        'replay:Apply again what a receipt records, and compare'
        'diff:Make an adapter from two models'
        'merge:Make one package of several of one kind'
        'compose-check:Tell what the packages of a stack share'
        'explain:Tell what a finding means and what to do'
        'limits:List every limit'
        'version:Print versions and this machine'\''s instruction sets'
    )
    _arguments -C \
        '(-h --help)'{-h,--help}'[Print this help]' \
        '--json[Print one JSON object and nothing else]' \
        '--quiet[Print nothing but errors]' \
        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
        '--version[The same as the command version]' \
        '1: :->command' \
        '*:: :->arguments'
    case $state in
        command) _describe -t commands command commands ;;
        arguments)
            case $words[1] in
                validate)
                    _arguments \
                        '--model=[The model that the packages must fit]:MODEL:_files' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                inspect)
                    _arguments \
                        '--stats[Read every byte and show statistics of each tensor'\''s values]' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                apply)
                    _arguments \
                        '(-o --output)'{-o,--output=}'[The new model; by default MODEL'\''s name with .adapted before its extension]:OUT:_files' \
                        '--force[Replace OUT, the receipt and the undo file where they exist]' \
                        '--dry-run[Write nothing; tell what would be written, digest included]' \
                        '*--strength=[Strength X, instead of 1, for the package file called NAME; repeatable]:NAME=X:' \
                        '--rounding=[How quantized weights are rounded\: adaptive\:SEED (by default adaptive\:0), stochastic\:SEED or nearest]:HOW:(adaptive\: stochastic\: nearest)' \
                        '--output-dtype=[Store the tensors that the stack touches as q8_0 or f32 where the base'\''s are coarser; keep, the default, stores them as the base does]:TYPE:(keep q8_0 f32)' \
                        '--min-survival=[Refuse when less than this share of the change is left after rounding]:X:' \
                        '--allow-no-effect[Write the model even when no stored byte of it changes]' \
                        '--receipt=[Also write a receipt that binds inputs and output by their digests]:FILE:_files' \
                        '--undo=[Also write what turns the new model back into MODEL; see revert]:FILE:_files' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                revert)
                    _arguments \
                        '--undo=[The undo file of its application]:UNDO:_files' \
                        '(-o --output)'{-o,--output=}'[The restored model; by default FILE'\''s name with .reverted before its extension]:OUT:_files' \
                        '--force[Replace OUT where it exists]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                convert)
                    _arguments \
                        '(-o --output)'{-o,--output=}'[The model or package to write]:OUT:_files' \
                        '--force[Replace OUT where it exists]' \
                        '--dtype=[Storage of a model\: f32 (the default for a checkpoint), q8_0 or q4_0; a model stays as it is stored without it]:TYPE:(f32 q8_0 q4_0)' \
                        '--base=[The model that a LoRA was trained on]:MODEL:_files' \
                        '--target=[Also tell how much of a LoRA would be left on this model]:MODEL:_files' \
                        '--rounding=[The rounding that --target reckons with\: adaptive\:SEED (by default adaptive\:0), stochastic\:SEED or nearest]:HOW:(adaptive\: stochastic\: nearest)' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                digest)
                    _arguments \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                verify)
                    _arguments \
                        '--entry=[The entry to verify, instead of the registry'\''s default]:ID:' \
                        '--registry-digest=[The digest that the registry itself must have\: sha256\:...]:D:' \
                        '--allow-weak-digests[Accept xxh3-128 digests, which detect accidents only]' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                bundle)
                    _arguments \
                        '(-o --output)'{-o,--output=}'[The bundle'\''s folder; must not exist, or be empty]:DIR:_files' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '1:command:(create)' \
                        '*:file:_files'
                    ;;
                replay)
                    _arguments \
                        '--root=[Where files are looked for that are not in the receipt'\''s folder]:DIR:_files' \
                        '--allow-weak-digests[Accept xxh3-128 digests, which detect accidents only]' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                diff)
                    _arguments \
                        '(-o --output)'{-o,--output=}'[The package; its extension tells the kind]:OUT:_files' \
                        '--kind=[adp1, asp1 or alr1, whatever OUT is called]:KIND:(adp1 asp1 alr1)' \
                        '--force[Replace OUT and its companion where they exist]' \
                        '--target=[Also tell how much would be left on this model; if it does not fit, nothing is written]:MODEL:_files' \
                        '--rounding=[The rounding that --target reckons with\: adaptive\:SEED (by default adaptive\:0), stochastic\:SEED or nearest]:HOW:(adaptive\: stochastic\: nearest)' \
                        '--threads=[Threads to use; 0, the default, is one per processor]:N:' \
                        '--density=[Keep this share of each tensor, the largest elements; above 0, at most 1]:D:' \
                        '--top-k=[Keep the K largest elements of each tensor]:K:' \
                        '--global[With --density or --top-k\: of all tensors that differ together]' \
                        '--threshold=[Keep the elements whose magnitude is at least T]:T:' \
                        '--drop=[Drop each element with probability P]:P:' \
                        '--seed=[The seed that --drop needs]:S:' \
                        '--rescale[With --drop\: divide what stays by 1 - P]' \
                        '--rank=[Factors of rank R, at most 4096]:R:' \
                        '--energy=[The smallest rank that keeps this share of each matrix'\''s squares]:E:' \
                        '--vectors=[Tensors that are no matrices\: dense (the default) writes them to a companion .adp1, skip leaves them out, error refuses]:HOW:(dense skip error)' \
                        '--accept-foreign-checksum[Accept a model whose checksum nobody but its writer can verify]' \
                        '--strict[Treat already_applied and unlisted_file as errors]' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                merge)
                    _arguments \
                        '(-o --output)'{-o,--output=}'[The package to write]:OUT:_files' \
                        '--force[Replace OUT where it exists]' \
                        '--method=[sum (the default), or ties\: sign consensus, for sparse packages]:HOW:(sum ties)' \
                        '--density=[With ties\: of each package'\''s tensors only this share of the elements, the largest; by default all]:D:' \
                        '*--strength=[Strength X, instead of 1, for the package file called NAME; repeatable]:NAME=X:' \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                compose-check)
                    _arguments \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '*:file:_files'
                    ;;
                explain)
                    _arguments \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)' \
                        '1:CODE:(truncated trailing_bytes bad_magic bad_header_length reserved_not_zero bad_value offset_not_canonical range_out_of_file misaligned overlap hole padding_not_zero size_overflow length_mismatch limit_exceeded bad_rank bad_dim bad_block_size bad_scale non_finite duplicate_tensor missing_tensor unexpected_tensor shape_mismatch directory_not_sorted tokenizer_malformed count_mismatch index_out_of_range index_not_ascending mask_bits_past_end retention_mismatch bad_low_rank bad_metadata bad_json duplicate_key unknown_key missing_key path_escape path_collision duplicate_id dependency_unknown dependency_cycle phase_order slot_conflict unplanned_file unused_module bad_view checksum_mismatch payload_checksum_mismatch mask_checksum_mismatch digest_mismatch size_mismatch value_drift link_mismatch ledger_broken replay_differs undo_stale flags_differ tensor_count_differs parameter_count_differs layout_differs tokenizer_differs tensor_unknown tensor_shape_differs fused_non_finite base_not_listed budget_exceeded survival_below_threshold zero_effect not_admitted weak_digest eval_failed strength_out_of_range already_applied unlisted_file file_missing file_unreadable checksum_unverifiable unsupported_version unsupported_dtype schema_unsupported unsupported_source output_failed out_of_memory executor_failed usage_error)'
                    ;;
                limits)
                    _arguments \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)'
                    ;;
                version)
                    _arguments \
                        '(-h --help)'{-h,--help}'[Print this help]' \
                        '--json[Print one JSON object and nothing else]' \
                        '--quiet[Print nothing but errors]' \
                        '--color=[Colours\: auto (the default), always or never]:WHEN:(auto always never)'
                    ;;
            esac
            ;;
    esac
}

_trlm_adapt "$@"
