# `cmake --install`: library, headers, tool, and what find_package(trlm_adapt 1) reads.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/trlm_adapt)

install(TARGETS trlm_adapt EXPORT trlm_adapt-targets)
install(DIRECTORY include/trlm TYPE INCLUDE)
install(EXPORT trlm_adapt-targets NAMESPACE trlm:: DESTINATION ${package_dir})

configure_package_config_file(
  cmake/trlm_adapt-config.cmake.in ${PROJECT_BINARY_DIR}/trlm_adapt-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/trlm_adapt-config-version.cmake COMPATIBILITY SameMajorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/trlm_adapt-config.cmake
        ${PROJECT_BINARY_DIR}/trlm_adapt-config-version.cmake
        cmake/FindxxHash.cmake
  DESTINATION ${package_dir})

if(TRLM_ADAPT_BUILD_CLI)
  # The tool finds a shared library beside itself, wherever the two are moved.
  if(APPLE)
    set(origin @loader_path)
  else()
    set(origin $ORIGIN)
  endif()
  file(RELATIVE_PATH library_dir ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
  set_target_properties(trlm-adapt PROPERTIES INSTALL_RPATH ${origin}/${library_dir})
  install(TARGETS trlm-adapt)
endif()
