# Finds xxHash and defines the target xxHash::xxhash. Some distributions install a package config
# for it, which is used where it is there; others only a header and a library.
#
# Sets xxHash_FOUND and xxHash_VERSION.

find_package(xxHash CONFIG QUIET)
include(FindPackageHandleStandardArgs)

if(TARGET xxHash::xxhash)
  find_package_handle_standard_args(xxHash CONFIG_MODE)
  return()
endif()

find_path(xxHash_INCLUDE_DIR xxhash.h)
find_library(xxHash_LIBRARY xxhash)
mark_as_advanced(xxHash_INCLUDE_DIR xxHash_LIBRARY)

if(xxHash_INCLUDE_DIR)
  file(STRINGS "${xxHash_INCLUDE_DIR}/xxhash.h" version_lines
       REGEX "#define XXH_VERSION_(MAJOR|MINOR|RELEASE) +[0-9]+")
  list(TRANSFORM version_lines REPLACE "[^0-9]" "")
  list(JOIN version_lines "." xxHash_VERSION)
endif()

# XXH3 is stable from 0.8.0 on.
if(NOT xxHash_FIND_VERSION)
  set(xxHash_FIND_VERSION 0.8.0)
endif()
find_package_handle_standard_args(
  xxHash
  REQUIRED_VARS xxHash_LIBRARY xxHash_INCLUDE_DIR
  VERSION_VAR xxHash_VERSION)

if(xxHash_FOUND)
  add_library(xxHash::xxhash UNKNOWN IMPORTED)
  set_target_properties(
    xxHash::xxhash PROPERTIES IMPORTED_LOCATION "${xxHash_LIBRARY}"
                              INTERFACE_INCLUDE_DIRECTORIES "${xxHash_INCLUDE_DIR}")
endif()
