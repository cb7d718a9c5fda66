# Cross builds for 64-bit Arm with Debian's compiler; programs run under qemu.
#
# The libraries are looked for in CMAKE_FIND_ROOT_PATH and nowhere else, so that nothing of this
# machine gets into the build: a folder into which arm64 packages were unpacked. tools/sameness makes
# one; the preset aarch64 names it.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -cpu max)
foreach(root IN LISTS CMAKE_FIND_ROOT_PATH)
  # Headers that differ from one architecture to the next, such as OpenSSL's configuration.
  string(APPEND CMAKE_C_FLAGS_INIT " -isystem ${root}/usr/include/aarch64-linux-gnu")
  string(APPEND CMAKE_CXX_FLAGS_INIT " -isystem ${root}/usr/include/aarch64-linux-gnu")
  # What a library itself is linked with.
  string(APPEND CMAKE_EXE_LINKER_FLAGS_INIT " -Wl,-rpath-link,${root}/usr/lib/aarch64-linux-gnu")
  list(APPEND CMAKE_CROSSCOMPILING_EMULATOR -L ${root})
endforeach()
