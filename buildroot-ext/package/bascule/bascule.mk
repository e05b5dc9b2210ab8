################################################################################
#
# bascule
#
################################################################################

BASCULE_VERSION = 0.1.0
BASCULE_SITE = $(BR2_EXTERNAL_BASCULE_PATH)/..
BASCULE_SITE_METHOD = local
BASCULE_LICENSE = MIT or Apache-2.0
BASCULE_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

# The root of the repository is a workspace without a package of its own,
# which cargo install refuses.
BASCULE_SUBDIR = agent/daemon

# The tool that makes disks, for board/post-image.sh.
HOST_BASCULE_SUBDIR = image
BASCULE_DEPENDENCIES = host-bascule

# The whole repository is copied, but not what was built in it before.
BASCULE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude /target \
	--exclude /out \
	--exclude /agent/core/fuzz/target
HOST_BASCULE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	$(BASCULE_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS)

# The variables of Buildroot's cargo infrastructure win over the profile in
# Cargo.toml. These give back what is there; above all the overflow checks.
BASCULE_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="3" \
	CARGO_PROFILE_RELEASE_LTO="fat" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1" \
	CARGO_PROFILE_RELEASE_PANIC="abort" \
	CARGO_PROFILE_RELEASE_STRIP="true" \
	CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS="true" \
	CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS="false" \
	CARGO_TARGET_$(call UPPERCASE,$(RUSTC_TARGET_NAME))_RUSTFLAGS="-C target-feature=+crt-static"

# Sources that are not downloaded are not vendored either, yet the build is
# offline. What cargo prints is the configuration that makes it look there;
# it goes beside the package, since the one at the root is checked in.
define BASCULE_VENDOR_CRATES
	mkdir -p $($(PKG)_SRCDIR)/.cargo
	cd $(@D) && \
		$(HOST_MAKE_ENV) $(PKG_COMMON_CARGO_ENV) \
		cargo vendor --locked $(@D)/vendor \
			> $($(PKG)_SRCDIR)/.cargo/config.toml
endef
BASCULE_PRE_BUILD_HOOKS += BASCULE_VENDOR_CRATES
HOST_BASCULE_PRE_BUILD_HOOKS += BASCULE_VENDOR_CRATES

# board/linux.config has more; these are for kernels with a configuration of
# their own, where the program would start and do nothing.
define BASCULE_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_PACKET)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_MULTICAST)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IPV6)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_ADVANCED_ROUTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_MULTIPLE_TABLES)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NETFILTER)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NETFILTER_ADVANCED)
	$(call KCONFIG_ENABLE_OPT,CONFIG_NF_CONNTRACK)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_VS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_VS_IPV6)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_VS_PROTO_TCP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_VS_PROTO_UDP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_IP_VS_NFCT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_MACVLAN)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SECCOMP)
	$(call KCONFIG_ENABLE_OPT,CONFIG_BLK_DEV_INITRD)
	$(call KCONFIG_ENABLE_OPT,CONFIG_DEVTMPFS)
endef

$(eval $(cargo-package))
$(eval $(host-cargo-package))
