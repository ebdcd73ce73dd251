"""What makes the adapters estimators of scikit-learn: parameters that stay as they were given, fits that are taken over whole.

A fit works on an unfitted twin of the estimator. What it found is taken over in one step when it is done: a fit that raises leaves
the estimator as it was, and a second fit begins anew, whatever attributes the first one left.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Concatenate, Final, ParamSpec, Self, TypeVar

from modelgraft.errors import UsageError
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

_SHARED: Final = ("model", "store", "tell", "device", "dtype")
"""Parameters that a clone has the same objects of: models are large, and no fit changes them."""


class NotFitted(UsageError, NotFittedError):  # type: ignore[misc]
    """Something was asked of an estimator that has trained nothing yet."""


class Estimator(BaseEstimator):  # type: ignore[misc]
    """The base of all estimators here.

    A subclass stores each parameter of its constructor, as it was given, under the parameter's name, and keyword settings beyond
    the named ones with `_keep`. Methods that learn are marked with `anew`.
    """

    _extra: Mapping[str, Any] = MappingProxyType({})
    """Keyword settings beyond the named parameters."""
    _resources: ClassVar[tuple[str, ...]] = ()
    """Attributes that a twin shares: what is made from the parameters alone, and dear to make."""

    def _keep(self, settings: Mapping[str, Any]) -> None:
        if settings:
            self._extra = dict(settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return every parameter by its name, keyword settings included."""
        return {**super().get_params(deep=deep), **self._extra}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by their names. What was trained stays, until the next fit.

        Raises:
            ValueError: a name that is no parameter, where the estimator takes no further settings.
        """
        named = self._get_param_names()
        more = {name: value for name, value in params.items() if name not in named}
        if more and not _takes_settings(type(self)):  # type: ignore[arg-type]
            return super().set_params(**params)  # which says what is wrong
        super().set_params(**{name: value for name, value in params.items() if name in named})
        if more:
            self._extra = {**self._extra, **more}
        return self

    def __sklearn_clone__(self) -> Self:
        """Return an unfitted estimator of the same parameters, on the same model."""
        params = self.get_params(deep=False)
        return type(self)(
            **{name: value if name in _SHARED else clone(value, safe=False) for name, value in params.items()}
        )

    def _parameters(self) -> dict[str, Any]:
        names = {"_extra", *_all_parameters(type(self))}  # type: ignore[arg-type]
        return {name: value for name, value in vars(self).items() if name in names}

    def _twin(self) -> Self:
        """Return an unfitted one with the same parameters and resources. It may be written to freely, parameters too."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self._parameters())
        twin.__dict__.update({name: vars(self)[name] for name in self._resources if name in vars(self)})
        twin._begin_anew()
        return twin

    def _begin_anew(self) -> None:
        """Set what a fit writes to on the way. Parameters are checked here too, and made what they stand for."""

    def _take_over(self, twin: Self) -> None:
        own = self._parameters()
        learnt = {name: value for name, value in vars(twin).items() if name not in twin._parameters()}
        # scikit-learn's pipelines hang their callbacks on an estimator around its fit, and take them off again.
        others = {
            name: value for name, value in vars(self).items() if name.startswith("_") and not _knows(type(self), name)
        }
        self.__dict__ = {**others, **own, **learnt}  # one step: nothing comes between


E = TypeVar("E", bound=Estimator)
P = ParamSpec("P")


def anew(fit: Callable[Concatenate[E, P], Any]) -> Callable[Concatenate[E, P], E]:
    """Make a method learn on an unfitted twin, which the estimator takes over whole when it is done, and return the estimator."""

    @functools.wraps(fit)
    def learn(self: E, /, *args: P.args, **kwargs: P.kwargs) -> E:
        twin = self._twin()
        fit(twin, *args, **kwargs)
        self._take_over(twin)
        return self

    return learn


@functools.cache
def _all_parameters(kind: type) -> frozenset[str]:
    """The names of parameters along the line of classes: a class may fix one that its base has."""
    found: set[str] = set()
    for one in kind.__mro__:
        if "__init__" in vars(one) and one is not object:
            found.update(
                name
                for name, parameter in inspect.signature(one.__init__).parameters.items()  # type: ignore[misc]
                if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
            )
    return frozenset(found)


def _knows(kind: type, name: str) -> bool:
    return hasattr(kind, name) or any(name in vars(one).get("__annotations__", {}) for one in kind.__mro__)


@functools.cache
def _takes_settings(kind: type) -> bool:
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
