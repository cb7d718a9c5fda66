#include "publish.hpp"

#include <array>
#include <utility>

#include "going_on.hpp"
#include "read_back.hpp"
#include "synchronization.hpp"
#include "trlm/adapt/slm1.hpp"

namespace trlm::adapt {

Finding cancelled_before_publishing() {
    return {.code = FindingCode::output_failed,
            .message = "cancelled before anything was published"};
}

Status seal_model(OutputFile& file, std::uint64_t checksum) {
    std::array<std::byte, sizeof checksum> field{};
    store(MutableBytes(field), 0, checksum);
    return file.write_at(slm1_checksum_offset, field);
}

Result<Digest> publish_model(OutputFile& file, std::uint64_t bytes, std::uint64_t checksum,
                             bool replace, const Progress& progress) {
    if (Status sealed = seal_model(file, checksum); !sealed) {
        return failure(std::move(sealed.error()));
    }
    Synchronization synchronization(file);
    Sha256 sha;
    Status read = read_back(file, bytes, [&](Bytes piece) -> Status {
        sha.update(piece);
        if (!goes_on(progress, bytes, bytes)) return failure(cancelled_before_publishing());
        return {};
    });
    if (!read) return failure(std::move(read.error()));
    if (Status synchronized = synchronization.finish(); !synchronized) {
        return failure(std::move(synchronized.error()));
    }
    if (!goes_on(progress, bytes, bytes)) return failure(cancelled_before_publishing());
    if (Status published = file.commit(replace); !published) {
        return failure(std::move(published.error()));
    }
    return sha.finish();
}

}  // namespace trlm::adapt
