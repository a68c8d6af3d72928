#include "engine/fabric/rdma/gid.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"

#define GID_COUNT_MAX 4096u

bool gid_is_mapped(const uint8_t gid[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(gid, mapped, sizeof(mapped)) == 0;
}

enum gid_rank { GID_UNUSABLE, GID_ROCE_V2, GID_BEST };

static enum gid_rank rank_of(const struct ibv_gid_entry *entry)
{
	static const uint8_t null_gid[16];

	if (memcmp(entry->gid.raw, null_gid, sizeof(null_gid)) == 0)
		return GID_UNUSABLE;
	if (entry->gid_type == IBV_GID_TYPE_IB)
		return GID_BEST;
	if (entry->gid_type != IBV_GID_TYPE_ROCE_V2)
		return GID_UNUSABLE;
	return gid_is_mapped(entry->gid.raw) ? GID_BEST : GID_ROCE_V2;
}

static enum mc_status take_forced(const struct verbs *verbs, struct ibv_context *context,
				  uint8_t port, int64_t forced, struct gid_choice *choice)
{
	struct ibv_gid_entry entry = {.gid_index = 0};
	int error = verbs->query_gid(context, port, (uint32_t)forced, &entry);

	if (error || rank_of(&entry) == GID_UNUSABLE) {
		log_error("gid index that was asked for can't be used index=%lld errno=%d type=%u",
			  (long long)forced, error, entry.gid_type);
		return MC_NOT_FOUND;
	}
	*choice = (struct gid_choice){entry.gid, (uint32_t)forced};
	return MC_OK;
}

enum mc_status gid_choose(const struct verbs *verbs, struct ibv_context *context, uint8_t port,
			  uint32_t count, int64_t forced, struct gid_choice *choice)
{
	enum gid_rank best = GID_UNUSABLE;

	if (forced >= 0)
		return take_forced(verbs, context, port, forced, choice);
	for (uint32_t i = 0; i < count && i < GID_COUNT_MAX && best != GID_BEST; i++) {
		struct ibv_gid_entry entry = {.gid_index = 0};
		/* Entries may be empty, and unreadable while they change. */
		if (verbs->query_gid(context, port, i, &entry) || rank_of(&entry) <= best)
			continue;
		best = rank_of(&entry);
		*choice = (struct gid_choice){entry.gid, i};
	}
	return best == GID_UNUSABLE ? MC_NOT_FOUND : MC_OK;
}

void gid_format(const uint8_t gid[16], char text[GID_TEXT_SIZE])
{
	for (int i = 0; i < 16; i++)
		snprintf(text + 3 * i, 4, i < 15 ? "%02x:" : "%02x", gid[i]);
}

int gid_parse(const char *text, uint8_t gid[16])
{
	for (int i = 0; i < 16; i++, text += 3) {
		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) ||
		    text[2] != (i < 15 ? ':' : '\0'))
			return 0;
		gid[i] = (uint8_t)strtoul((char[3]){text[0], text[1]}, NULL, 16);
	}
	return 1;
}
