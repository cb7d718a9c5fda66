// A shared library that holds the archive, as a host's plugin would.
#include <trlm/adapt.hpp>

extern "C" [[gnu::visibility("default")]] int plugin_reads_model(const char* path) {
    const auto file = trlm::adapt::MappedFile::open(path);
    return file && trlm::adapt::read_model(file->bytes()) ? 1 : 0;
}
