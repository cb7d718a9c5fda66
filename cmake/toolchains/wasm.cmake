# WebAssembly with Debian's emscripten, wherever it is installed.

find_program(TRLM_ADAPT_EMCC emcc)
if(NOT TRLM_ADAPT_EMCC)
  message(FATAL_ERROR "emcc is missing: apt install emscripten | brew install emscripten")
endif()
file(REAL_PATH ${TRLM_ADAPT_EMCC} emcc)
cmake_path(GET emcc PARENT_PATH emscripten)
include(${emscripten}/cmake/Modules/Platform/Emscripten.cmake)
