/*
 * boot/files.h: answering boot.sig and boot.img.
 */
#ifndef WALT_VPN_BOOT_FILES_H
#define WALT_VPN_BOOT_FILES_H

void boot_files_register_hooks(void);

#endif
