# What every target of the project is compiled with.

function(trlm_adapt_compile_options target)
  set_target_properties(
    ${target} PROPERTIES CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
  target_compile_options(
    ${target}
    PRIVATE
      -Wall
      -Wextra
      -Wpedantic
      -Wconversion
      -Wshadow
      # GCC 12 sees overlaps in std::string's operator+ that cannot be (GCC bug 105651).
      $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>
      $<$<BOOL:${TRLM_ADAPT_WERROR}>:-Werror>
      # The same bytes on every machine: no fused multiply-add that the source does not spell out,
      # and none of the liberties of fast-math, even where CMAKE_CXX_FLAGS asks for them.
      -fno-fast-math
      -ffp-contract=off)
endfunction()

# A defect that is left should end the program before it does harm (docs/security.md): set for the
# whole directory, so that a precompiled header is compiled alike.
if(TRLM_ADAPT_HARDEN)
  add_compile_definitions($<$<COMPILE_LANGUAGE:CXX>:_GLIBCXX_ASSERTIONS>)
  add_compile_options(-fstack-protector-strong)
  # The sanitizers replace what these would check, and glibc checks nothing without optimization.
  if(NOT TRLM_ADAPT_SANITIZE)
    add_compile_options($<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-U_FORTIFY_SOURCE>
                        $<$<CONFIG:Release,RelWithDebInfo,MinSizeRel>:-D_FORTIFY_SOURCE=2>)
  endif()
  if(NOT APPLE)
    add_compile_options(-fstack-clash-protection)
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
      add_compile_options(-fcf-protection)
    endif()
    add_link_options(LINKER:-z,relro LINKER:-z,now LINKER:-z,noexecstack)
  endif()
  include(CheckPIESupported)
  check_pie_supported(LANGUAGES CXX)
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
endif()

# trlm_adapt_precompile(<target> <headers>...): parses headers once that take a second or more each.
# A source that forgets to include one of them is found by the build that does without.
function(trlm_adapt_precompile target)
  if(TRLM_ADAPT_PRECOMPILE_HEADERS)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# A sanitizer has to see the whole program, so it is set for the whole directory.
if(TRLM_ADAPT_SANITIZE)
  list(JOIN TRLM_ADAPT_SANITIZE "," sanitizers)
  set(sanitizer_options -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(sanitizers MATCHES "integer")
    list(APPEND sanitizer_options
         -fsanitize-ignorelist=${PROJECT_SOURCE_DIR}/cmake/sanitizer_ignorelist.txt)
  endif()
  add_compile_options(${sanitizer_options})
  add_link_options(${sanitizer_options})
endif()
