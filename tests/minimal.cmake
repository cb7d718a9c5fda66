# Runs the README's program on the bundled model and compares the result's digest with the one that
# an independent implementation gave (whale-lora on union.q8_0, adaptive:0).
set(expected 7da467d3b3b41da83f0af67aef855ff7155ea68138f38d44b46f756c45e884a4)
file(REMOVE ${OUTPUT})
execute_process(COMMAND ${PROGRAM} ${DATA}/union.q8_0.slm ${DATA}/whale-lora.alr1 ${OUTPUT}
                RESULT_VARIABLE code)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "the program exited with ${code}")
endif()
file(SHA256 ${OUTPUT} digest)
if(NOT digest STREQUAL expected)
  message(FATAL_ERROR "the result is ${digest}, expected ${expected}")
endif()

# A second run must not replace the first one's output.
execute_process(COMMAND ${PROGRAM} ${DATA}/union.q8_0.slm ${DATA}/whale-lora.alr1 ${OUTPUT}
                RESULT_VARIABLE code ERROR_QUIET)
if(NOT code EQUAL 2)
  message(FATAL_ERROR "replacing an existing file gave ${code}, expected 2 (usage)")
endif()
