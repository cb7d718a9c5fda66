# Finds what the project needs, and names everything that is missing before it stops.

set(missing_dependencies "")

# trlm_adapt_require(<package> <apt> <brew> <vcpkg> [<further arguments of find_package>...])
macro(trlm_adapt_require package apt brew vcpkg)
  find_package(${package} ${ARGN} QUIET)
  if(NOT ${package}_FOUND)
    list(APPEND missing_dependencies
         "${package} is missing: apt install ${apt} | brew install ${brew} | vcpkg install ${vcpkg}")
  endif()
endmacro()

trlm_adapt_require(tl-expected libexpected-dev tl-expected tl-expected CONFIG)
trlm_adapt_require(fmt libfmt-dev fmt fmt CONFIG)
trlm_adapt_require(nlohmann_json nlohmann-json3-dev nlohmann-json nlohmann-json CONFIG)
trlm_adapt_require(xxHash libxxhash-dev xxhash xxhash MODULE)
trlm_adapt_require(Eigen3 libeigen3-dev eigen eigen3 CONFIG)
trlm_adapt_require(hwy libhwy-dev highway highway CONFIG)
# Homebrew keeps its OpenSSL out of the folders that are searched.
if(APPLE AND NOT OPENSSL_ROOT_DIR)
  execute_process(
    COMMAND brew --prefix openssl@3
    OUTPUT_VARIABLE OPENSSL_ROOT_DIR
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
trlm_adapt_require(OpenSSL libssl-dev openssl@3 openssl COMPONENTS Crypto)
trlm_adapt_require(Threads libc6-dev gcc pthreads)
if(TRLM_ADAPT_BUILD_CLI)
  trlm_adapt_require(CLI11 libcli11-dev cli11 cli11 CONFIG)
endif()
if(TRLM_ADAPT_BUILD_TESTS)
  trlm_adapt_require(Catch2 catch2 catch2 catch2 CONFIG)
  # The tests need nothing but the standard library. The system's interpreter is preferred to a
  # version manager's launcher, which costs more to start than most of the tests.
  find_program(Python3_EXECUTABLE python3 PATHS /usr/bin NO_DEFAULT_PATH)
  trlm_adapt_require(Python3 python3 python python3 COMPONENTS Interpreter)
endif()
if(TRLM_ADAPT_BUILD_BENCH)
  trlm_adapt_require(benchmark libbenchmark-dev google-benchmark benchmark CONFIG)
  trlm_adapt_require(OpenBLAS libopenblas-dev openblas openblas CONFIG)
  find_program(Python3_EXECUTABLE python3 PATHS /usr/bin NO_DEFAULT_PATH)
  trlm_adapt_require(Python3 python3 python python3 COMPONENTS Interpreter)
endif()

if(missing_dependencies)
  foreach(line IN LISTS missing_dependencies)
    message(NOTICE "${line}")
  endforeach()
  list(LENGTH missing_dependencies count)
  message(FATAL_ERROR "Missing dependencies: ${count}, named above.")
endif()
