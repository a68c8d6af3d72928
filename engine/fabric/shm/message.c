#include "engine/fabric/shm/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buffer.h"
#include "engine/fabric/fabric.h"
#include "engine/fabric/shm/ledger.h"

#define MAGIC_SIZE 4u

static const uint8_t magic[MAGIC_SIZE] = {'M', 'C', 's', 'm'};

void shm_message_encode(uint8_t bytes[SHM_MESSAGE_SIZE], const struct shm_message *message)
{
	memcpy(bytes, magic, MAGIC_SIZE);
	store_u16(bytes + 4, SHM_VERSION);
	store_u16(bytes + 6, (uint16_t)message->kind);
	store_u32(bytes + 8, (uint32_t)message->status);
	store_u32(bytes + 12, message->slot);
	store_u64(bytes + 16, message->key);
	store_u64(bytes + 24, message->address);
	store_u64(bytes + 32, message->length);
	store_u64(bytes + 40, message->offset);
	store_u32(bytes + 48, message->access);
	store_u32(bytes + 52, message->mapped);
	store_u64(bytes + 56, 0);
}

enum mc_status shm_message_decode(const uint8_t *bytes, uint64_t size, struct shm_message *message)
{
	if (size != SHM_MESSAGE_SIZE || memcmp(bytes, magic, MAGIC_SIZE) != 0 ||
	    load_u16(bytes + 4) != SHM_VERSION || load_u64(bytes + 56) != 0)
		return MC_PROTOCOL;
	uint16_t kind = load_u16(bytes + 6);
	int32_t status = (int32_t)load_u32(bytes + 8);
	uint32_t slot = load_u32(bytes + 12), access = load_u32(bytes + 48);
	uint32_t mapped = load_u32(bytes + 52);
	uint64_t address = load_u64(bytes + 24), length = load_u64(bytes + 32);
	uint64_t offset = load_u64(bytes + 40);

	if (kind < SHM_HELLO || kind > SHM_RECALL || status > 0 || slot >= LEDGER_SLOTS ||
	    access > (FABRIC_REMOTE_READ | FABRIC_REMOTE_WRITE) || mapped > 1 ||
	    address > UINT64_MAX - length || offset > (uint64_t)INT64_MAX ||
	    length > (uint64_t)INT64_MAX - offset ||
	    (kind == SHM_LEND && status == 0 && length == 0))
		return MC_PROTOCOL;
	*message = (struct shm_message){
		.kind = (enum shm_kind)kind,
		.status = (enum mc_status)status,
		.slot = slot,
		.key = load_u64(bytes + 16),
		.address = address,
		.length = length,
		.offset = offset,
		.access = access,
		.mapped = mapped != 0,
	};
	return MC_OK;
}

/* Room for one descriptor. */
union control {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

enum mc_status shm_message_send(int socket, const struct shm_message *message, int fd)
{
	uint8_t bytes[SHM_MESSAGE_SIZE];
	union control control = {{0}};
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};

	shm_message_encode(bytes, message);
	if (fd >= 0) {
		head.msg_control = control.bytes;
		head.msg_controllen = sizeof(control.bytes);
		struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
	}
	ssize_t sent = sendmsg(socket, &head, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent == SHM_MESSAGE_SIZE)
		return MC_OK;
	return sent < 0 && errno == EAGAIN ? MC_AGAIN : MC_UNREACHABLE;
}

/* The descriptor that came; the kernel has dropped what there was no room for. */
static int take_descriptor(struct msghdr *head)
{
	const struct cmsghdr *rights = CMSG_FIRSTHDR(head);
	int fd;

	if (!rights || rights->cmsg_level != SOL_SOCKET || rights->cmsg_type != SCM_RIGHTS ||
	    rights->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
	return fd;
}

enum mc_status shm_message_receive(int socket, struct shm_message *message, int *fd)
{
	uint8_t bytes[SHM_MESSAGE_SIZE];
	union control control = {{0}};
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr head = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		/* With what the alignment adds, two would have room, and one be lost. */
		.msg_controllen = CMSG_LEN(sizeof(int)),
	};
	ssize_t size = recvmsg(socket, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (size <= 0)
		return size < 0 && (errno == EAGAIN || errno == EINTR) ? MC_AGAIN : MC_UNREACHABLE;
	int came = take_descriptor(&head);
	enum mc_status status = head.msg_flags & (MSG_TRUNC | MSG_CTRUNC)
					? MC_PROTOCOL
					: shm_message_decode(bytes, (uint64_t)size, message);
	if (status && came >= 0)
		close(came);
	else if (!status)
		*fd = came;
	return status;
}
