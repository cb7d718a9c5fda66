# `cmake --install`, in components: library, development, cli, man, completions, docs.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/trlm_adapt)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(documentation_dir ${CMAKE_INSTALL_DATADIR}/doc/trlm-adapt)

install(TARGETS trlm_adapt_static EXPORT trlm_adapt-static ARCHIVE COMPONENT development)
install(TARGETS trlm_adapt_core EXPORT trlm_adapt-core ARCHIVE COMPONENT development)
install(TARGETS trlm_adapt_shared EXPORT trlm_adapt-shared
        LIBRARY COMPONENT library NAMELINK_COMPONENT development)
install(DIRECTORY include/ TYPE INCLUDE COMPONENT development)

# What find_package(trlm_adapt 1) reads.
foreach(part IN ITEMS static shared core)
  install(EXPORT trlm_adapt-${part}
          NAMESPACE trlm::
          DESTINATION ${package_dir}
          COMPONENT development)
endforeach()
configure_package_config_file(
  cmake/trlm_adapt-config.cmake.in ${PROJECT_BINARY_DIR}/trlm_adapt-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
  ${PROJECT_BINARY_DIR}/trlm_adapt-config-version.cmake COMPATIBILITY SameMajorVersion)
install(
  FILES ${PROJECT_BINARY_DIR}/trlm_adapt-config.cmake
        ${PROJECT_BINARY_DIR}/trlm_adapt-config-version.cmake
        cmake/FindxxHash.cmake
  DESTINATION ${package_dir}
  COMPONENT development)

# What pkg-config reads. Its paths start from its own folder, so that what was installed can be moved.
file(RELATIVE_PATH library_dir ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir}
     ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH include_dir ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir}
     ${CMAKE_INSTALL_FULL_INCLUDEDIR})
# For the linker of a C program.
if(APPLE)
  set(standard_library -lc++)
else()
  set(standard_library "-lstdc++ -lm")
endif()
configure_file(cmake/trlm_adapt.pc.in ${PROJECT_BINARY_DIR}/trlm_adapt.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/trlm_adapt.pc DESTINATION ${pkgconfig_dir}
        COMPONENT development)

install(FILES README.md CHANGELOG.md LICENSE DESTINATION ${documentation_dir} COMPONENT docs)
install(DIRECTORY docs DESTINATION ${documentation_dir} COMPONENT docs
        PATTERN Doxyfile EXCLUDE)

if(TRLM_ADAPT_BUILD_CLI)
  set(guide tools/trlm-adapt/guide)
  install(TARGETS trlm-adapt RUNTIME COMPONENT cli)
  install(FILES ${guide}/trlm-adapt.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT man)
  install(FILES ${guide}/trlm-adapt.bash
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions
          RENAME trlm-adapt
          COMPONENT completions)
  install(FILES ${guide}/trlm-adapt.zsh
          DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions
          RENAME _trlm-adapt
          COMPONENT completions)
  install(FILES ${guide}/trlm-adapt.fish
          DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d
          COMPONENT completions)
endif()
