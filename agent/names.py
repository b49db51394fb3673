"""What this agent is called: by its owner, by its certificate, or two words and a number.

The made-up name says nothing about the box or its owner. It is kept in a file ``name`` beside the
journal, so that it lives as long as the results do.
"""

import os
import secrets
from collections.abc import Callable

from agent.certificate import common_name
from agent.config import Config, ConfigError
from agent.settings import agent_name

FILE = "name"

_ADJECTIVES = """
    agile amber ancient autumn azure balmy bold brave breezy bright brisk bronze bubbly calm
    candid cheerful clever cloudy copper coral cosmic cosy crimson crisp curious dapper daring
    dawn deep dewy drowsy dusty eager early emerald fair fancy fearless fern fluffy foggy fond
    frosty gentle gilded glad golden grand hardy hazel hidden honest humble icy indigo ivory jade
    jolly keen kind lazy light lively lucky lunar lush marble mellow merry mild mighty misty modest
    mossy nimble noble northern olive opal patient pearly placid plain plucky polite proud purple
    quaint quick quiet rapid rosy round ruby rustic sandy scarlet serene shady sharp shiny silent
    silver sleepy smooth snowy solar solid southern spry stable starry steady still stormy sunny
    swift tame tidy tiny tranquil upbeat velvet violet vivid warm wild windy winter wise witty
    young zesty"""
_NOUNS = """
    acorn alder anchor antelope aspen aster badger bamboo barley basil bay beacon beaver beech
    birch bison blossom boulder breeze brook canyon cedar cherry cliff cloud clover comet condor
    coral cove crane creek cricket crocus curlew cypress daisy delta dolphin dove dune eagle elk elm
    falcon fern fig finch fjord forest fox garden gecko geyser ginger glacier glade goose grove gull
    harbor hare hawk hazel heather hedge heron hill holly ibis iris island ivy jasmine juniper
    kestrel lagoon lake larch lark laurel lavender lemon lichen lily linden lotus lynx magpie maple
    marlin marsh marten meadow mint moss mountain myrtle nettle oak oasis olive orchid osprey otter
    owl pebble pelican peony pine plover pond poplar poppy puffin quail quartz raven reed reef
    ridge river robin rose rowan sage salmon seal sparrow spring spruce squirrel stork summit swan
    thistle thrush thyme tulip valley walnut walrus willow wren yarrow"""
ADJECTIVES = tuple(_ADJECTIVES.split())
NOUNS = tuple(_NOUNS.split())


def make_up(choose: Callable[[int], int] = secrets.randbelow) -> str:
    """Two words and a number; ``choose(n)`` gives 0 … n - 1."""
    adjective = ADJECTIVES[choose(len(ADJECTIVES))]
    noun = NOUNS[choose(len(NOUNS))]
    return f"{adjective}-{noun}-{100 + choose(900)}"


def settle(config: Config) -> str:
    """The agent's name, or ConfigError. Writes the file ``name`` when it has to make one up."""
    return known(config) or _keep(path_beside(config.journal), make_up())


def known(config: Config) -> str | None:
    """The agent's name, where it has one already; nothing is written."""
    if config.cert is not None:
        return _of_certificate(config.cert, config.name)
    return config.name or _kept(path_beside(config.journal))


def path_beside(journal: str) -> str:
    """The file with the made-up name of the agent with this journal."""
    return os.path.join(os.path.dirname(os.path.abspath(journal)), FILE)


def _of_certificate(path: str, stated: str | None) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            name = common_name(file.read())
    except OSError as error:
        raise ConfigError(f"cert: {path}: {error.strerror}") from error
    if name is None:
        raise ConfigError(f"cert: {path} holds no certificate with a CN")
    if stated is not None and stated != name:
        raise ConfigError(f"name: {stated!r} is not the certificate's CN, {name!r}")
    return agent_name(name, "cert")


def _kept(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            name = file.read(1000).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"name: {path}: {error.strerror}") from error
    return agent_name(name, f"name in {path}") if name else None


def _keep(path: str, name: str) -> str:
    """Write it so that a power cut leaves the whole name or none."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(name + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise ConfigError(
            f"name: none was given, and none can be kept in {folder} ({error.strerror}): "
            "use --name, or --journal with a file in a folder that can be written"
        ) from error
    return name
