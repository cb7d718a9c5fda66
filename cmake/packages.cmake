# `cpack`: three Debian packages of what is installed, the tool, the shared library, and what programs
# are built with. They are for the release of Debian or Ubuntu that they are made on.

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME trlm-adapt)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")  # each package has its own
set(CPACK_PACKAGE_VENDOR "The trlm-adapt authors")
# No address is known that somebody reads: whoever hands packages out gives their own, with
# -D CPACK_PACKAGE_CONTACT=...
if(NOT CPACK_PACKAGE_CONTACT)
  set(CPACK_PACKAGE_CONTACT "The trlm-adapt authors <authors@trlm-adapt.invalid>")
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# Which packages hold the libraries that are linked, and since which version, dpkg knows.
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)

set(tool_package trlm-adapt)
set(library_package libtrlm-adapt${PROJECT_VERSION_MAJOR})
set(development_package libtrlm-adapt-dev)

set(CPACK_DEBIAN_TOOL_PACKAGE_NAME ${tool_package})
set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOL_DESCRIPTION
    "check adapter packages and apply them to language models
Checks adapters (LoRA, sparse and dense differences) and applies them to
TinyRustLM models (SLM1 files), quantized ones included, with the same bytes
on every machine. This is the command line tool.")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME ${library_package})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION
    "apply adapter packages to language models (shared library)
Checks adapters (LoRA, sparse and dense differences) and applies them to
TinyRustLM models, in files or in an engine's memory. This is the shared
library.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME ${development_package})
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "${library_package} (= ${PROJECT_VERSION}), libexpected-dev, libfmt-dev, libxxhash-dev, libhwy-dev, libssl-dev")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION
    "apply adapter packages to language models (development)
Checks adapters (LoRA, sparse and dense differences) and applies them to
TinyRustLM models, in files or in an engine's memory. These are the headers,
the static library, and what CMake and pkg-config read.")

# Every package has its licence.
foreach(group IN ITEMS tool library development)
  if(group STREQUAL "tool")
    set(component docs)
  else()
    set(component ${group})
  endif()
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${${group}_package}
          RENAME copyright
          COMPONENT ${component})
endforeach()

include(CPack)
cpack_add_component(cli GROUP tool)
cpack_add_component(man GROUP tool)
cpack_add_component(completions GROUP tool)
cpack_add_component(docs GROUP tool)
cpack_add_component(library GROUP library)
cpack_add_component(development GROUP development)
foreach(group IN ITEMS tool library development)
  cpack_add_component_group(${group})
endforeach()
