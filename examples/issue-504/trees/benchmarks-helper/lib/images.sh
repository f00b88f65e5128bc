# Images: which exist, and how one is made. build_images reads this file.

# image_exists REFERENCE tells whether it is there. Only a registry's "not found"
# means that it is not: after any other answer the build fails.
image_exists() {
	if why=$(buildx imagetools inspect "$1" 2>&1 >/dev/null); then
		return 0
	fi
	case $why in
	*"not found"*) return 1 ;;
	esac
	echo "$why" >&2
	exit 1
}

# make_image ID builds an image that does not exist.
make_image() {
	tag=$LAPSTRAKE_OUTPUTS/agent:$(echo "$1" | tr '[:upper:]' '[:lower:]')
	if image_exists "$tag"; then
		echo "$tag exists"
	else
		build_image "$1"
	fi
}

# build_image ID makes a context of the image's own, builds it and pushes it.
build_image() {
	id=$(echo "$1" | tr '[:upper:]' '[:lower:]')
	base=swebench/sweb.eval.x86_64.$(echo "$id" | sed 's/__/_1776_/'):latest
	cache=$LAPSTRAKE_CACHE/agent:buildcache-agent-$("$sdk/scripts/slug" "docker.io/$base")
	mkdir "$work/$id"
	cp -R "$sdk/." "$work/$id/"
	rm -rf "$work/$id/.git"
	buildx build --quiet --provenance=false --file "$work/$id/docker/Dockerfile" --target agent \
		--build-arg "BASE_IMAGE=$BASES/$base" \
		--build-arg "BUILDER_IMAGE=$BASES/lapstrake/builder:1" \
		--build-arg "SDK_BUILD_GIT_SHA=$SDK_BUILD_GIT_SHA" \
		--cache-from "type=registry,ref=$cache" --cache-to "type=registry,ref=$cache,mode=max" \
		--tag "$LAPSTRAKE_OUTPUTS/agent:$id" --push "$work/$id"
	rm -rf "${work:?}/$id"
}
