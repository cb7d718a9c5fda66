# Runs the programs of docs/receipts.md on the bundle of examples/data, whole and with a byte changed.
file(REMOVE_RECURSE ${FOLDER})
execute_process(COMMAND ${TOOL} bundle create ${DATA}/whale.recipe.json -o ${FOLDER} --quiet
                RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "bundle create exited with ${code}")
endif()

function(expect program expected)
  execute_process(COMMAND ${program} ${FOLDER} RESULT_VARIABLE code OUTPUT_VARIABLE output
                  ERROR_VARIABLE errors)
  if(NOT code EQUAL expected)
    message(FATAL_ERROR "${program} exited with ${code}, expected ${expected}: ${output}${errors}")
  endif()
  foreach(text IN LISTS ARGN)
    string(FIND "${output}${errors}" "${text}" place)
    if(place EQUAL -1)
      message(FATAL_ERROR "${program} does not print \"${text}\": ${output}${errors}")
    endif()
  endforeach()
endfunction()

expect(${WHOLE} 0 "diagnostics        passed")
expect(${STEPS} 0 "adapter-artifacts  adapters/whale-full.adp1")

# A model that was cut short: its gate fails, those that need it are blocked, the others are judged.
file(WRITE ${FOLDER}/models/union.q8_0.slm "SLM1")
expect(${WHOLE} 3 "model-bytes        failed" "validate           blocked"
       "adapter-artifacts  passed" "[size_mismatch]")
expect(${STEPS} 3 "[size_mismatch]")

file(REMOVE ${FOLDER}/models/union.q8_0.slm)
expect(${WHOLE} 5 "[file_missing]")
expect(${STEPS} 5 "[file_missing]" "the server has no such file")
