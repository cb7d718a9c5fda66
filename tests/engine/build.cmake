# Builds examples/engine as a guest of the library: installed, in a fresh folder.
set(prefix ${FOLDER}/prefix)
set(build ${FOLDER}/build)
file(REMOVE_RECURSE ${FOLDER})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "${command} exited with ${code}:\n${output}")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install ${LIBRARY} --config ${CONFIG} --prefix ${prefix})
run(${CMAKE_COMMAND} -S ${SOURCE} -B ${build} -G ${GENERATOR} -D CMAKE_BUILD_TYPE=Release
    -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_CXX_COMPILER=${COMPILER}
    -D CMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER} -D CMAKE_CXX_FLAGS=${FLAGS})
run(${CMAKE_COMMAND} --build ${build})
